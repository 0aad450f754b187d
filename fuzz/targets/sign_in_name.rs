#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bastion_fuzz::sign_in_name::check(data));
