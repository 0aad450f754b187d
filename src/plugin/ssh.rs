//! `kubectl bastion ssh`: finds the gateway and the user name, and runs `ssh`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow};

use super::cli::Ssh;
use super::gateway::Address;
use super::{access, client, gateway, host_key, person};
use crate::api::HOST_KEY_ALIAS;
use crate::gateway::SignInName;

/// Replaces this process by `ssh`. Returns only if that fails.
pub async fn run(flags: Ssh) -> anyhow::Error {
    match prepare(&flags).await {
        Ok(arguments) => {
            let error = Command::new("ssh").args(arguments).exec();
            anyhow!(error).context("ssh cannot be run; is an OpenSSH client installed?")
        }
        Err(error) => error,
    }
}

/// Returns the arguments of `ssh`.
async fn prepare(flags: &Ssh) -> anyhow::Result<Vec<String>> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.as_str();
    let person = person::find(&client, namespace, flags.user.as_deref()).await?;
    let name = sign_in_name(&person.name, flags.login.as_deref(), flags.target.as_deref())?;
    if let Some(target) = &flags.target {
        access::check(&client, namespace, &person, target, flags.login.as_deref()).await?;
    }
    let gateway = match &flags.gateway {
        Some(gateway) => gateway.clone(),
        None => gateway::find(&client, namespace).await?,
    };
    let known_hosts = host_key::known_hosts(&client, namespace).await?;
    Ok(arguments(flags, &name, &gateway, &known_hosts))
}

/// Returns the SSH user name for the gateway. Invalid parts are refused here, before `ssh` runs.
fn sign_in_name(user: &str, login: Option<&str>, target: Option<&str>) -> anyhow::Result<String> {
    let intended = SignInName::new(user, login.filter(|_| target.is_some()), target);
    let name = intended.to_string();
    let parsed: SignInName = name.parse().context("invalid user, login or target")?;
    (parsed == intended)
        .then_some(name)
        .context("a user, login or target must not contain ':' or '@', and a user must not contain '+'")
}

/// Builds the arguments of `ssh`. The options that verify the gateway come first, since ssh uses the first value of each option.
fn arguments(flags: &Ssh, name: &str, gateway: &Address, known_hosts: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut set = |option: String| arguments.extend(["-o".to_owned(), option]);
    set(format!("HostKeyAlias={HOST_KEY_ALIAS}"));
    set(format!("UserKnownHostsFile=\"{}\"", known_hosts.display().to_string().replace('%', "%%")));
    set("GlobalKnownHostsFile=/dev/null".to_owned());
    set("StrictHostKeyChecking=yes".to_owned());
    set("UpdateHostKeys=no".to_owned());
    flags.options.iter().for_each(|option| set(option.clone()));
    if let Some(identity) = &flags.identity {
        arguments.extend(["-i".to_owned(), identity.display().to_string()]);
    }
    arguments.extend(std::iter::repeat_n("-t".to_owned(), flags.tty.into()));
    arguments.extend(["-p".to_owned(), gateway.port.to_string(), "-l".to_owned(), name.to_owned()]);
    arguments.push(gateway.host.clone());
    if !flags.command.is_empty() {
        arguments.push("--".to_owned());
        arguments.extend(flags.command.iter().cloned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::plugin::cli::{Cli, Command};

    #[rstest]
    #[case(None, None, Some("alice"))]
    #[case(None, Some("web-1"), Some("alice+web-1"))]
    #[case(Some("root"), Some("web-1"), Some("alice+root@web-1"))]
    #[case(Some("a+b"), Some("web-1"), Some("alice+a+b@web-1"))]
    #[case(None, Some("root@web-1"), None)]
    #[case(Some("a:b"), Some("web-1"), None)]
    #[case(None, Some("Web_1"), None)]
    #[case(None, Some(""), None)]
    fn a_sign_in_name_parses_to_its_parts(
        #[case] login: Option<&str>,
        #[case] target: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(sign_in_name("alice", login, target).ok().as_deref(), expected);
    }

    #[test]
    fn host_key_options_come_before_the_users_options() {
        let line =
            ["kubectl-bastion", "ssh", "web-1", "-tt", "-i", "key", "-o", "StrictHostKeyChecking=no", "--", "ls", "-l"];
        let Command::Ssh(flags) = Cli::try_parse_from(line).unwrap().command else { panic!("not ssh") };
        let gateway = "192.0.2.1:2222".parse().unwrap();
        let arguments = arguments(&flags, "alice+web-1", &gateway, Path::new("/a b/known_hosts"));
        let expected = "-o HostKeyAlias=bastion-gateway -o UserKnownHostsFile=\"/a b/known_hosts\" \
                        -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o UpdateHostKeys=no \
                        -o StrictHostKeyChecking=no -i key -t -t -p 2222 -l alice+web-1 192.0.2.1 -- ls -l";
        assert_eq!(arguments.join(" "), expected);
    }
}
