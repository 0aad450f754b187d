fn main() {
    print!("{}", bastion_operator::api::crds_yaml().unwrap());
}
