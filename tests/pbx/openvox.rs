//! OpenVox and Yeastar: the PBX pushes reports to the gateway, which works its control API.
//!
//! Shape: `house` is one office, a gateway and a simulated PBX; `calls` what reports tell, in every form; `door` who may
//! report, and how badly; `durable` what an answer promises; `control` the login, the token, the loss of either way;
//! `services` every service and its refusals.

mod calls;
mod control;
mod door;
mod durable;
mod house;
mod services;

pub(crate) use house::free;
