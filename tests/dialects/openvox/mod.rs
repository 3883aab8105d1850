//! OpenVox and Yeastar: recorded reports, dialogues with time in them, and the fuzz targets' bodies, bounded.

mod dialogue;
mod properties;
mod recorded;
