//! A real OpenID Connect provider of a test's own, and a browser's steps through it.

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Map, json};
use url::Url;

use crate::process::{Process, command};
use crate::run::{Run, built_tool, unique};
use crate::sshd::free_port;
use crate::wait::{default_timeout, eventually};

const PASSWORD: &str = "verysecure";
/// The secret of the client `web`, which is the console.
pub const SECRET: &str = "secret";

/// A running provider.
pub struct OidcProvider {
    /// What it calls itself.
    pub issuer: String,
    pub process: Process,
}

impl OidcProvider {
    /// Starts one that knows these people, by the `sub` that it calls them, and the console at this URL.
    pub async fn start(console: &str, people: &[&str]) -> Self {
        let dir = Run::get().await.dir.join(format!("oidc-{}", unique()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let users: Map<_, _> = people
            .iter()
            .map(|id| ((*id).to_owned(), json!({"ID": id, "Username": id, "Password": PASSWORD})))
            .collect();
        std::fs::write(dir.join("users.json"), serde_json::to_vec(&users).expect("JSON")).expect("a file");
        let port = free_port().await;
        let mut command = command(built_tool("oidc-provider", "oidc-provider").await);
        command.env("PORT", port.to_string()).env("USERS_FILE", dir.join("users.json"));
        command.env("REDIRECT_URI", format!("{console}/auth/oidc/callback"));
        let process = Process::start(dir.join("provider"), command).await;
        process.accepts_connections("localhost", port).await;
        Self { issuer: format!("http://localhost:{port}/"), process }
    }
}

/// A browser that goes where it is sent, step by step.
pub struct Browser {
    http: Client,
    console: String,
    /// What the console has set.
    pub cookies: Vec<String>,
}

impl Browser {
    /// One without cookies.
    pub fn new(console: &str) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { http, console: console.to_owned(), cookies: vec![] }
    }

    /// The same, with these cookies.
    pub fn with(mut self, cookies: &[String]) -> Self {
        self.cookies = cookies.to_vec();
        self
    }

    /// Opens an address of the console's, and returns where that sends it.
    pub async fn open(&mut self, address: &str) -> String {
        let url = Url::parse(&self.console).and_then(|url| url.join(address)).expect("an address");
        let answer = eventually(default_timeout(), "the console takes a sign-in again", async || {
            let request = self.http.get(url.clone()).header(COOKIE, self.cookies.join("; "));
            let answer = request.send().await.expect("an answer");
            if answer.status() == StatusCode::TOO_MANY_REQUESTS { Err("too many".to_owned()) } else { Ok(answer) }
        })
        .await;
        for set in answer.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().expect("text").split(';').next().expect("a pair").to_owned();
            let name = pair.split('=').next().unwrap_or_default().to_owned();
            self.cookies.retain(|cookie| cookie.split('=').next() != Some(&name));
            if !pair.ends_with('=') {
                self.cookies.push(pair);
            }
        }
        sent_to(&answer)
    }

    /// Signs in at the provider, where the console has sent it, and returns where that sends it back to.
    pub async fn signs_in(&self, provider: &OidcProvider, authorize: &str, person: &str) -> String {
        let login = self.follow(provider, authorize).await;
        let id = Url::parse(&provider.issuer).and_then(|url| url.join(&login)).expect("a URL");
        let (_, id) = id.query_pairs().next().expect("the request's id");
        let form = format!("id={id}&username={person}&password={PASSWORD}");
        let post = self.http.post(format!("{}login/username", provider.issuer)).body(form);
        let answer = post.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
        self.follow(provider, &sent_to(&answer)).await
    }

    async fn follow(&self, provider: &OidcProvider, address: &str) -> String {
        let url = Url::parse(&provider.issuer).and_then(|url| url.join(address)).expect("an address");
        sent_to(&self.http.get(url).send().await.expect("an answer"))
    }
}

fn sent_to(answer: &Response) -> String {
    let headers: &HeaderMap = answer.headers();
    let to = headers.get(LOCATION).map(|to| to.to_str().expect("text").to_owned());
    let is_redirect = matches!(answer.status(), StatusCode::FOUND | StatusCode::SEE_OTHER);
    to.filter(|_| is_redirect).unwrap_or_else(|| panic!("{} leads nowhere: {}", answer.url(), answer.status()))
}
