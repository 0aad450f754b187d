//! An SSH client inside the tests' own process, for what the real `ssh` does not send or does not show.

use std::sync::Arc;

use russh::ChannelControl;
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};

use crate::bastion::Bastion;
use crate::run::Run;

/// Accepts every host key: tests with the real `ssh` check which one a gateway shows.
pub struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Signs in at the first gateway with the key that all users of the run have.
pub async fn sign_in(bastion: &Bastion, sign_in_name: &str) -> Handle<Trusting> {
    sign_in_with(client::Config::default(), bastion, sign_in_name).await
}

/// The same, with a client that grants no window beyond its first.
pub async fn sign_in_granting_nothing(bastion: &Bastion, sign_in_name: &str) -> Handle<Trusting> {
    let channel_control = ChannelControl::Application;
    let config = client::Config { channel_control, window_size: 32 * 1024, ..client::Config::default() };
    sign_in_with(config, bastion, sign_in_name).await
}

async fn sign_in_with(config: client::Config, bastion: &Bastion, sign_in_name: &str) -> Handle<Trusting> {
    let config = Arc::new(config);
    let mut client = client::connect(config, bastion.gateway.address, Trusting).await.expect("a connection");
    let key = russh::keys::load_secret_key(&Run::get().await.user_key.path, None).expect("the user's key");
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = client.authenticate_publickey(sign_in_name, key).await.expect("an answer");
    assert!(answer.success(), "{answer:?}");
    client
}
