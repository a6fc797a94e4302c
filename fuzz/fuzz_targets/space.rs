#![no_main]
//! libFuzzer's entry to `targets::space`.

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::space(data));
