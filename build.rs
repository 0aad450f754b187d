//! Has Cargo look at the migrations, which a macro reads, when they change.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
