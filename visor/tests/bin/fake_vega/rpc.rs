//! The core's admin RPC: JSON-RPC in its first version, over HTTP over a UNIX socket. And CometBFT's `/status`.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, UnixListener};

use crate::behaviour::{Behaviour, CrashAtHalt, Rpc, Tendermint};
use crate::fake::monotonic_us;
use crate::http::{self, Request};
use crate::world::{Role, log};

/// The path of the method `UpgradeStatus`.
const PATH: &str = "/rpc";
const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the core says of itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// `None` before the first block of a process that has restored nothing; `Some(None)`: no upgrade.
    pub(crate) release: RefCell<Option<Option<(String, u64)>>>,
    pub(crate) ready: Cell<bool>,
    /// Of the block store.
    pub(crate) height: Cell<u64>,
    /// Somebody was told that it is ready.
    pub(crate) seen: tokio::sync::Notify,
}

/// What steers the services.
#[derive(Debug, Clone)]
pub(crate) struct Steered {
    /// The world.
    pub(crate) folder: PathBuf,
}

/// Where the core home's files say that the services listen. Those of a home that says nothing are Vega's defaults, which tests do
/// not use.
#[derive(Debug)]
pub(crate) struct Addresses {
    admin: String,
    tendermint: Option<String>,
}

impl Addresses {
    pub(crate) fn of(core_home: &Path) -> Result<Self> {
        let path = core_home.join("config/node/config.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let file: toml::Table = text.parse()?;
        let word = |keys: &[&str]| -> Option<String> {
            let mut value = file.get(keys[0])?;
            for key in &keys[1..] {
                value = value.get(key)?;
            }
            Some(value.as_str()?.to_owned())
        };
        Ok(Self {
            admin: word(&["Admin", "Server", "SocketPath"]).context("[Admin.Server] SocketPath")?,
            tendermint: word(&["Blockchain", "Tendermint", "RPCAddr"])
                .map(|address| address.trim_start_matches("tcp://").to_owned()),
        })
    }
}

pub(crate) fn serve_admin(addresses: &Addresses, status: &Rc<Status>, steered: Steered) -> Result<()> {
    let _ = fs::remove_file(&addresses.admin);
    let listener = UnixListener::bind(&addresses.admin)?;
    let status = Rc::clone(status);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (status, steered) = (Rc::clone(&status), steered.clone());
            tokio::task::spawn_local(async move { answer_admin(stream, &status, &steered).await });
        }
    });
    Ok(())
}

async fn answer_admin(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    status: &Status,
    steered: &Steered,
) -> Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(request) = http::read(&mut stream).await? {
        let behaviour = Behaviour::read(&steered.folder)?;
        if behaviour.log_questions {
            log(&steered.folder, Role::Core, &format!("asked {}", monotonic_us()))?;
        }
        match behaviour.rpc {
            Rpc::Closes => return Ok(()),
            Rpc::Silent => std::future::pending().await,
            Rpc::Garbage => http::write(&mut stream, "200 OK", JSON, "upgrade? never heard\n").await?,
            Rpc::Refuses => http::write(&mut stream, "500 Internal Server Error", TEXT, "no\n").await?,
            Rpc::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await?;
                while stream.write_all(&[b' '; 4096]).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            Rpc::Answers | Rpc::Fails | Rpc::NoResult | Rpc::OtherId | Rpc::ReadyForNothing => {
                let (code, kind, body) = answer(&request, status, &behaviour);
                http::write(&mut stream, code, kind, &body).await?;
                if status.ready.get() && behaviour.crash_at_halt == CrashAtHalt::WhenSeen {
                    status.seen.notify_one();
                }
            }
        }
    }
    Ok(())
}

fn answer(request: &Request, status: &Status, behaviour: &Behaviour) -> (&'static str, &'static str, String) {
    let refuse = |code, text: &str| (code, TEXT, format!("{text}\n"));
    if request.path != PATH {
        return refuse("404 Not Found", "404 page not found");
    }
    if request.method != "POST" {
        return refuse("405 Method Not Allowed", "rpc: POST method required");
    }
    if request.content_type.split(';').next().map(str::trim) != Some("application/json") {
        return refuse("415 Unsupported Media Type", "rpc: unrecognized Content-Type");
    }
    let Ok(call) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse("400 Bad Request", "invalid character");
    };
    if call["method"] != "protocolupgrade.UpgradeStatus" {
        return refuse("400 Bad Request", "rpc: can't find method");
    }
    if !call["params"].is_array() {
        return refuse("400 Bad Request", "rpc: method request ill-formed");
    }
    if call["id"].is_null() {
        return ("200 OK", JSON, String::new());
    }
    // The order of the keys is the original's, too.
    let release = match &*status.release.borrow() {
        None => "null".to_owned(),
        Some(None) => release("", 0),
        Some(Some((tag, height))) => release(behaviour.shown_tag.as_ref().unwrap_or(tag), *height),
    };
    let result = |release: &str, ready: bool| {
        format!("{{\"AcceptedReleaseInfo\":{release},\"ReadyToUpgrade\":{ready}}}")
    };
    let now = result(&release, status.ready.get());
    let (result, error, id) = match behaviour.rpc {
        Rpc::Fails => ("null".to_owned(), "\"rpc: out of order\"", call["id"].clone()),
        Rpc::NoResult => ("null".to_owned(), "null", call["id"].clone()),
        Rpc::OtherId => (now, "null", json!(7)),
        Rpc::ReadyForNothing => (result("null", true), "null", call["id"].clone()),
        Rpc::Answers | Rpc::Silent | Rpc::Garbage | Rpc::Closes | Rpc::Refuses | Rpc::Endless => {
            (now, "null", call["id"].clone())
        }
    };
    let reply = format!("{{\"result\":{result},\"error\":{error},\"id\":{id}}}");
    ("200 OK", JSON, format!("{reply}\n"))
}

fn release(tag: &str, height: u64) -> String {
    format!(
        "{{\"VegaReleaseTag\":{},\"UpgradeBlockHeight\":{height}}}",
        json!(tag)
    )
}

/// Nothing when the core's home names no address.
pub(crate) async fn serve_tendermint(
    addresses: &Addresses,
    status: &Rc<Status>,
    steered: Steered,
) -> Result<()> {
    let Some(address) = &addresses.tendermint else {
        return Ok(());
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let status = Rc::clone(status);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (status, steered) = (Rc::clone(&status), steered.clone());
            tokio::task::spawn_local(async move {
                let mut stream = BufStream::new(stream);
                while let Some(request) = http::read(&mut stream).await? {
                    let body = match Behaviour::read(&steered.folder)?.tendermint {
                        Tendermint::Silent => std::future::pending().await,
                        Tendermint::Garbage => "<html>".to_owned(),
                        Tendermint::Answers => tendermint_status(status.height.get()),
                    };
                    if request.path == "/status" {
                        http::write(&mut stream, "200 OK", "application/json", &body).await?;
                    } else {
                        http::write(&mut stream, "404 Not Found", TEXT, "404 page not found\n").await?;
                    }
                }
                anyhow::Ok(())
            });
        }
    });
    Ok(())
}

fn tendermint_status(height: u64) -> String {
    let result = json!({
        "node_info": { "network": "fake-vega", "version": "0.38.8" },
        "sync_info": { "latest_block_height": height.to_string(), "catching_up": false },
    });
    json!({ "jsonrpc": "2.0", "id": -1, "result": result }).to_string()
}
