#![no_main]
//! libFuzzer's entry to `targets::spec`.

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::spec(data));
