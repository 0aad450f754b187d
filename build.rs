//! Has Cargo look at the migrations, which a macro reads, and at the console's page, which is a part of the program, when
//! they change.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=web/dist");
}
