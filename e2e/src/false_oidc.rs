//! An OpenID Connect provider in an attacker's hands: it sends the ID token that a test makes up.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A running provider.
pub struct FalseProvider {
    /// What it calls itself, unless a test has it say something else.
    pub issuer: String,
    key: EcdsaKeyPair,
    answers: Arc<Mutex<Answers>>,
}

/// What it answers.
struct Answers {
    discovery: Value,
    keys: Value,
    token: String,
}

impl FalseProvider {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a random key");
        let discovery = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let answers = Answers { discovery, keys: json!({"keys": [public_key(&key)]}), token: String::new() };
        let answers = Arc::new(Mutex::new(answers));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery_document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { issuer, key, answers }
    }

    /// Sends this ID token from now on.
    pub fn sends(&self, token: String) {
        self.answers.lock().token = token;
    }

    /// Says in its discovery document that this is its issuer.
    pub fn calls_itself(&self, issuer: &str) {
        self.answers.lock().discovery["issuer"] = json!(issuer);
    }

    /// Returns these claims as a token with its signature.
    pub fn signed(&self, claims: &Value) -> String {
        let text = unsigned(&json!({"alg": "ES256", "typ": "JWT", "kid": "1"}), claims);
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// Returns header and claims of a token, without the signature and the dot before it.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}

fn public_key(key: &EcdsaKeyPair) -> Value {
    // An uncompressed point: 4, and 32 bytes each of x and y.
    let point = key.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
    json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y})
}

async fn discovery_document(State(answers): State<Arc<Mutex<Answers>>>) -> Json<Value> {
    Json(answers.lock().discovery.clone())
}

async fn keys(State(answers): State<Arc<Mutex<Answers>>>) -> Json<Value> {
    Json(answers.lock().keys.clone())
}

async fn token(State(answers): State<Arc<Mutex<Answers>>>) -> Json<Value> {
    let token = answers.lock().token.clone();
    Json(json!({"access_token": "access", "token_type": "Bearer", "expires_in": 300, "id_token": token}))
}
