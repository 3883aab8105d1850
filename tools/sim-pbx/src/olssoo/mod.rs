//! A simulated olssoo DynamicIPCommunicationCenter.
pub mod envelope;
pub mod http;
pub mod json;
pub mod packet;
pub mod proxy;
pub mod records;
pub mod rest;
