mod harness;
fn main() {}
