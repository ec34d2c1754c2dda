#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| governance_fuzz::grpc(data));
