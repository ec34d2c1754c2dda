#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| governance_fuzz::certificate(data));
