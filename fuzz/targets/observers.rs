#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bastion_fuzz::observers::check(data));
