#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bastion_fuzz::bridge::check(data));
