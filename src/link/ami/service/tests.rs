//! What is refused before anything is sent, and what the mirror decides. The dialogues in `tests/corpus/ami/session`
//! show each service with the PBX's answers.
