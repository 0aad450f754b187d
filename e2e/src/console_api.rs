//! The console's API as a program asks it, which checks each answer against the console's own description.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;

use crate::programs::Console;

/// One caller of a console.
pub struct ConsoleApi {
    client: Client,
    description: Value,
    headers: HeaderMap,
}

/// What the console said.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The sentence that says what is wrong.
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// This field of each of the sessions.
    pub fn each(&self, field: &str) -> Vec<&str> {
        let sessions = self.body["sessions"].as_array().unwrap_or_else(|| panic!("no sessions in {self:?}"));
        sessions.iter().map(|session| session[field].as_str().unwrap_or_default()).collect()
    }
}

impl ConsoleApi {
    /// Returns a client with this token, or with none.
    pub async fn new(console: &Console, token: Option<&str>) -> Self {
        let mut config = Config::new(format!("http://{}", console.address).parse().expect("a URL"));
        // What is answered once must be seen.
        config.default_retry = false;
        config.auth_info.token = token.map(|token| token.to_owned().into());
        let client = Client::try_from(config).expect("a client");
        let mut it = Self { client, description: Value::Null, headers: HeaderMap::new() };
        let answer = it.ask("GET", "/api/v1/openapi.json").await;
        assert_eq!(answer.status, StatusCode::OK, "everybody may read what the API is");
        it.description = answer.body;
        it
    }

    /// The same, who sends this header too.
    pub fn sending(mut self, (name, value): (HeaderName, String)) -> Self {
        self.headers.insert(name, value.parse().expect("a header's value"));
        self
    }

    /// What it sends as this header.
    pub fn sent(&self, name: &HeaderName) -> String {
        self.headers[name].to_str().expect("text").to_owned()
    }

    /// Asks, and checks that the description has such an answer.
    pub async fn get(&self, path: &str) -> Answer {
        let answer = self.ask("GET", path).await;
        self.check("get", path, &answer);
        answer
    }

    /// Sends something, and checks that the description has such an answer.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let answer = read(path, self.request("POST", path, Some(body)).await);
        if path != "/" {
            self.check("post", path, &answer);
        }
        answer
    }

    /// Asks what the description does not have.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        read(path, self.request(method, path, None).await)
    }

    /// Fetches a file of the page.
    pub async fn fetch(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let (status, headers, bytes) = self.request("GET", path, None).await;
        (status, headers, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string().into_bytes())
            }
            None => Body::empty(),
        };
        let answer = self.client.send(request.body(body).expect("a request")).await.expect("the console answers");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect_bytes().await.expect("the whole answer");
        (parts.status, parts.headers, bytes.to_vec())
    }

    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let route = path.split('?').next().unwrap_or_default();
        let paths = self.description["paths"].as_object().expect("paths");
        let found = paths.iter().find(|(template, _)| fits(template, route));
        let (_, described) = found.unwrap_or_else(|| panic!("{path} is not described"));
        let response = &described[method]["responses"][answer.status.as_str()];
        assert!(response.is_object(), "{path} answered {}, which is not described: {answer:?}", answer.status);
        if answer.body.is_null() {
            return;
        }
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} has no schema for {}", answer.status);
        self.check_value(path, schema, &answer.body);
    }

    /// Whether a value is what a schema says, as far as schemas go here.
    fn check_value(&self, place: &str, schema: &Value, value: &Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            let schema = self.description.pointer(pointer).unwrap_or_else(|| panic!("{place}: no {reference}"));
            return self.check_value(place, schema, value);
        }
        if let Some(either) = schema["oneOf"].as_array() {
            let fits = either.iter().find(|schema| (schema["type"] == "null") == value.is_null());
            return self.check_value(place, fits.expect("one of them"), value);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        assert!(kinds.iter().any(|it| it == kind), "{place} is {value}, not {}", schema["type"]);
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check_value(&format!("{place}[{number}]"), &schema["items"], item);
        }
        let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return };
        for (name, value) in fields {
            let schema = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
            self.check_value(&format!("{place}.{name}"), schema, value);
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(fields.contains_key(name), "{place} has no {name}");
        }
    }
}

fn read(path: &str, (status, headers, bytes): (StatusCode, HeaderMap, Vec<u8>)) -> Answer {
    let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
    let body = body.unwrap_or_else(|error| panic!("{path}: {error} in {bytes:?}"));
    Answer { status, headers, body }
}

/// Whether a path matches a template such as `/a/{b}`.
fn fits(template: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    template.len() == path.len() && template.iter().zip(&path).all(|(it, part)| it.starts_with('{') || it == part)
}
