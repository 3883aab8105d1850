//! A simulated olssoo DynamicIPCommunicationCenter.
pub mod envelope;
pub mod json;
pub mod packet;
pub mod proxy;
