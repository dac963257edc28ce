#![no_main]

#[path = "../inputs.rs"]
#[expect(dead_code, reason = "each program has one of the targets")]
mod inputs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inputs::savepoint(bytes));
