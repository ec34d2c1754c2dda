//! A releases API in GitHub's shape, which misbehaves when it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One file of a release.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// As the API says it.
    pub(super) size: u64,
    pub(super) digest: Value,
    pub(super) state: &'static str,
}

pub(super) fn file(name: &str, content: impl Into<Vec<u8>>) -> File {
    let content = content.into();
    File {
        name: name.to_owned(),
        size: content.len() as u64,
        content,
        digest: Value::Null,
        state: "uploaded",
    }
}

/// Status, headers and body of an answer.
pub(super) type Canned = (u16, Vec<(&'static str, String)>, String);

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// Only who shows this token is answered; others get 404, as GitHub does for a private repository, or this status.
    pub(super) token: Option<String>,
    pub(super) refusal: Option<u16>,
    /// The address of a tag is unknown.
    pub(super) no_tags: bool,
    /// Every answer of the API is this status with these headers and this body.
    pub(super) api: Option<Canned>,
    /// A download breaks off after so many bytes, for so many downloads.
    pub(super) cut_after: Option<(usize, u32)>,
    /// Ranges are not understood: every answer is the whole.
    pub(super) no_ranges: bool,
    /// A partial answer begins elsewhere than asked.
    pub(super) other_range: bool,
    /// Nothing says how long a download is.
    pub(super) chunked: bool,
    /// No `Link` header, and pages of at most this size.
    pub(super) no_links: bool,
    /// A redirect leads to the other server for files.
    pub(super) no_redirect: bool,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// By the server that has the files, which is another one.
    pub(super) elsewhere: bool,
}

#[derive(Debug, Default)]
struct World {
    /// Files by tag, the newest release first.
    releases: Vec<(String, Vec<File>)>,
    faults: Faults,
    asked: Vec<Asked>,
    /// Bytes of files that were sent.
    sent: usize,
    /// Where the files are.
    files: Option<SocketAddr>,
    /// Changes with every other edition of the files.
    edition: u64,
}

/// The servers; they end with the test's runtime.
#[derive(Debug, Clone)]
pub(super) struct Server {
    world: Arc<Mutex<World>>,
    api: SocketAddr,
}

impl Server {
    pub(super) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let api = serve(Arc::clone(&world), false).await;
        let files = serve(Arc::clone(&world), true).await;
        world.lock().unwrap().files = Some(files);
        Self { world, api }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/api/v3", self.api)
    }

    pub(super) fn release(&self, tag: &str, files: Vec<File>) {
        let mut world = self.world.lock().unwrap();
        world.releases.retain(|(other, _)| other != tag);
        world.releases.push((tag.to_owned(), files));
        world.edition += 1;
    }

    pub(super) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.world.lock().unwrap().faults);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.world.lock().unwrap().asked.clone()
    }

    /// How many requests had this in their path.
    pub(super) fn asked_for(&self, part: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.path.contains(part))
            .count()
    }

    /// How many bytes of files were sent since the last call.
    pub(super) fn sent(&self) -> usize {
        std::mem::take(&mut self.world.lock().unwrap().sent)
    }
}

async fn serve(world: Arc<Mutex<World>>, elsewhere: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |State(world): State<Arc<Mutex<World>>>, request: Request| async move {
        let asked = Asked {
            path: request.uri().to_string(),
            headers: request.headers().clone(),
            elsewhere,
        };
        world.lock().unwrap().answer(asked)
    };
    let app = axum::Router::new().fallback(answer).with_state(world);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

impl World {
    fn answer(&mut self, asked: Asked) -> Response {
        self.asked.push(asked.clone());
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if asked.elsewhere {
            return match path.strip_prefix("/files/").and_then(|id| id.parse().ok()) {
                Some(id) => self.content(id, &asked.headers),
                None => StatusCode::NOT_FOUND.into_response(),
            };
        }
        let Some(path) = path.strip_prefix("/api/v3/repos/vegaprotocol/vega/releases") else {
            return not_found();
        };
        if let Some((status, headers, body)) = &self.faults.api {
            let mut answer = Response::builder().status(*status);
            for (name, value) in headers {
                answer = answer.header(*name, value);
            }
            return answer.body(Body::from(body.clone())).unwrap();
        }
        if let Some(token) = &self.faults.token {
            let shown = asked.headers.get(header::AUTHORIZATION);
            if shown.is_none_or(|shown| shown != &format!("Bearer {token}")) {
                let status = self.faults.refusal.unwrap_or(404);
                let message = json!({ "message": "Bad credentials" }).to_string();
                return (StatusCode::from_u16(status).unwrap(), message).into_response();
            }
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            [] => self.page(self.all(), query),
            ["tags", tag] if !self.faults.no_tags => {
                match self.releases.iter().position(|(found, _)| found == tag) {
                    Some(index) => json_answer(&release(index, tag)),
                    None => not_found(),
                }
            }
            ["assets", id] => {
                let octets = asked.headers.get(header::ACCEPT);
                assert_eq!(octets.unwrap(), "application/octet-stream");
                let id = id.parse().unwrap();
                if self.faults.no_redirect {
                    return self.content(id, &asked.headers);
                }
                let to = format!(
                    "http://{}/files/{id}?signature=secret-of-the-store",
                    self.files.unwrap()
                );
                (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
            }
            [release, "assets"] => {
                let index: usize = release.parse().unwrap();
                let files = self.releases[index].1.iter().enumerate();
                let files = files.map(|(number, file)| {
                    json!({
                        "id": index * 10_000 + number, "name": file.name, "size": file.size, "state": file.state,
                        "digest": file.digest, "updated_at": format!("edition {}", self.edition),
                        "content_type": "application/octet-stream", "uploader": { "login": "x" },
                    })
                });
                self.page(files.collect(), query)
            }
            _ => not_found(),
        }
    }

    fn all(&self) -> Vec<Value> {
        let releases = self.releases.iter().enumerate();
        releases.map(|(index, (tag, _))| release(index, tag)).collect()
    }

    fn page(&self, all: Vec<Value>, query: &str) -> Response {
        let query: BTreeMap<&str, usize> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key, value.parse().unwrap()))
            .collect();
        let (size, page) = (query["per_page"].min(100), query["page"]);
        let from = (page - 1) * size;
        let some: Vec<&Value> = all.iter().skip(from).take(size).collect();
        let mut answer = json_answer(&json!(some));
        if all.len() > from + size && !self.faults.no_links {
            let link = format!(
                "<http://{}/x?page={}>; rel=\"next\", <http://x>; rel=\"last\"",
                self.files.unwrap(),
                page + 1
            );
            answer.headers_mut().insert(header::LINK, link.parse().unwrap());
        }
        answer
    }

    fn content(&mut self, id: usize, headers: &HeaderMap) -> Response {
        let file = &self.releases[id / 10_000].1[id % 10_000];
        let mark = format!("\"edition {} of {id}\"", self.edition);
        let whole = file.content.len();
        let text = |name| {
            headers
                .get(name)
                .map(|value: &header::HeaderValue| value.to_str().unwrap())
        };
        let fits = text(header::IF_RANGE).is_none_or(|found| found == mark);
        let from = text(header::RANGE)
            .filter(|_| fits && !self.faults.no_ranges)
            .map(|range| -> usize {
                let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap();
                from.parse().unwrap()
            });
        let mut answer = Response::builder().header(header::ETAG, mark);
        if let Some(from) = from {
            if from >= whole {
                return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            }
            let said = if self.faults.other_range { from - 1 } else { from };
            let range = format!("bytes {said}-{}/{whole}", whole - 1);
            answer = answer.status(206).header(header::CONTENT_RANGE, range);
        }
        let bytes = &file.content[from.unwrap_or(0)..];
        let mut chunks: Vec<std::io::Result<Bytes>> = Vec::new();
        match &mut self.faults.cut_after {
            Some((after, times @ 1..)) => {
                *times -= 1;
                let some = &bytes[..(*after).min(bytes.len())];
                self.sent += some.len();
                chunks.push(Ok(Bytes::copy_from_slice(some)));
                chunks.push(Err(std::io::Error::other("cut")));
            }
            _ => {
                self.sent += bytes.len();
                chunks.extend(
                    bytes
                        .chunks(64 << 10)
                        .map(|chunk| Ok(Bytes::copy_from_slice(chunk))),
                );
            }
        }
        if !self.faults.chunked {
            answer = answer.header(header::CONTENT_LENGTH, bytes.len());
        }
        // What comes before a cut is sent before it.
        let chunks = stream::iter(chunks).then(async |chunk| {
            let turns = if chunk.is_err() { 20 } else { 0 };
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            chunk
        });
        answer.body(Body::from_stream(chunks)).unwrap()
    }
}

fn release(id: usize, tag: &str) -> Value {
    json!({ "id": id, "tag_name": tag, "name": tag, "draft": false, "body": "notes", "assets": [] })
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        json!({ "message": "Not Found" }).to_string(),
    )
        .into_response()
}
