//! `visor run --casper`, and what the program does when it is called `casper-node-launcher`: the command line, the environment, the log
//! and the exit codes of that program, over the same files.
//!
//! Whoever called the launcher finds the same answers here. What differs on purpose stands in CASPER.md.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::run::runtime;
use super::{CommandError, chain, complain};
use crate::adapter::Adapter;
use crate::adapter::casper::own::Roots;
use crate::adapter::casper::{self, Settings, own, shutdown_script, strangers};
use crate::config::{Casper, Config};
use crate::daemon::{self, Ended};
use crate::exit_code;
use crate::home::{Home, check_socket_path};
use crate::lock::{NodeLock, VisorLock};
use crate::process::re_exec;
use crate::signals;

/// The name under which the program is the launcher.
const NAME: &str = "casper-node-launcher";
/// What scripts take for the launcher's version: the fourth word of `--version`. Some of them test whether it begins with `1`, which
/// stands for "knows `--force-version` and the staging tool"; so this is the launcher whose behaviour is kept, and visor's own version
/// comes after it.
const VERSION: &str = concat!("1.0.8 (visor ", env!("CARGO_PKG_VERSION"), ")");
/// Every failure that has no other code.
const FAILED: u8 = 1;
/// A bug: what a Rust program that panics ends with.
pub(super) const BUG: u8 = 101;

#[derive(clap::Parser)]
#[command(
    name = "Casper node launcher",
    bin_name = NAME,
    version = VERSION,
    about = "Runs casper-node, and upgrades it when it asks for it",
    after_help = "CASPER_BIN_DIR and CASPER_CONFIG_DIR name the folders of the versions (default /var/lib/casper/bin and /etc/casper)."
)]
struct CommandLine {
    #[command(flatten)]
    arguments: LauncherArguments,
}

/// The launcher's own arguments.
#[derive(Debug, clap::Args)]
pub(super) struct LauncherArguments {
    /// Run this installed version, whatever ran before, without migrating its data
    #[arg(short, long, value_name = "VERSION", value_parser = version)]
    force_version: Option<semver::Version>,
}

impl LauncherArguments {
    /// A version is forced.
    pub(super) const fn is_forcing(&self) -> bool {
        self.force_version.is_some()
    }
}

fn version(text: &str) -> Result<semver::Version, String> {
    text.parse()
        .map_err(|error| format!("expected three numbers with dots between, such as 1.5.8: {error}"))
}

/// Whether the program was called by the launcher's name.
pub(super) fn is_named_so(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Runs the launcher's command line and returns its exit code.
pub(super) fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => launch(&line.arguments),
        Err(error) => {
            // Help and version are answers, not errors; a closed stdout is nobody's loss.
            let _ = error.print();
            if error.use_stderr() {
                exit_code::USAGE
            } else {
                exit_code::SUCCESS
            }
        }
    }
}

/// Runs until the node is to stop for good, and returns the launcher's exit code.
pub(super) fn launch(arguments: &LauncherArguments) -> u8 {
    // A signal that comes before the daemon listens waits for it (W7).
    signals::hold();
    match run(arguments, &Environment::read(|name| std::env::var_os(name))) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{NAME}: failed to {}", chain(&error)));
            FAILED
        }
    }
}

fn run(arguments: &LauncherArguments, environment: &Environment) -> Result<u8, CommandError> {
    for problem in &environment.problems {
        complain(&format!("{NAME}: {problem}"));
    }
    let failed = |error| CommandError::new(FAILED, error);
    let settings = environment.settings();
    for root in [&environment.bin_root, &environment.config_root] {
        // Before anything is made beside them.
        fs::read_dir(root).map_err(|source| {
            let path = root.clone();
            CommandError::new(FAILED, LauncherError::Root { path, source })
        })?;
    }
    let roots = Roots::of(&settings);
    settings
        .make_own_folder()
        .map_err(|error| CommandError::new(FAILED, error))?;
    let home = open_own_folder(&settings.own_folder())?;
    // Before anything is looked at: what another visor is changing must not be read.
    let lock = VisorLock::acquire(&home.visor_lock())?;
    if let Some(stranger) = strangers::find(&settings, &NodeLock::new(home.node_lock())) {
        let (pid, program) = (stranger.pid, stranger.program);
        return Err(CommandError::new(
            FAILED,
            LauncherError::Stranger { pid, program },
        ));
    }
    own::write(home.root(), &roots).map_err(|error| CommandError::new(FAILED, error))?;
    start_log(environment.filter.clone().unwrap_or_else(|| level_of(&home)));
    let casper = casper::Casper::open(settings).map_err(failed)?;
    let mut config = casper.read_config()?;
    let mut forced = match &arguments.force_version {
        // What this process was told before it replaced itself is done.
        Some(version) if !lock.is_inherited() => {
            casper.force(&version.to_string()).map_err(failed)?;
            tracing::info!(node.version = %version, "the operator forces this version");
            Some(visor_planner::Version(version.to_string()))
        }
        Some(_) | None => {
            casper.settle().map_err(failed)?;
            None
        }
    };
    let adapter: Arc<dyn Adapter> = Arc::new(casper);
    loop {
        let runtime = runtime()?;
        let ended = runtime.block_on(daemon::run(&home, Arc::clone(&adapter), &config, forced.take()));
        runtime.shutdown_background();
        match ended? {
            Ended::Code(exit_code::SUCCESS) => return Ok(exit_code::SUCCESS),
            Ended::Code(_) => return Ok(FAILED),
            Ended::ShutDown => {
                // The lock is held until the script has ended: a second launcher must not start the node meanwhile.
                let Casper {
                    shutdown_script,
                    shutdown_script_timeout,
                    ..
                } = adapter.read_config().unwrap_or(config).casper;
                let script = environment.script.clone().unwrap_or(shutdown_script);
                let limit = (!shutdown_script_timeout.is_zero()).then_some(shutdown_script_timeout);
                return Ok(shutdown_script::run(&script, limit));
            }
            Ended::SelfRestart => {
                // It returns only when it fails: then this program goes on, and adopts the node itself.
                let error = re_exec(&lock);
                tracing::error!(%error, "visor cannot become the program at its path; it goes on as it is");
                config = adapter.read_config().unwrap_or(config);
            }
        }
    }
}

/// The home of what is visor's own.
fn open_own_folder(path: &Path) -> Result<Home, CommandError> {
    let root = path.canonicalize().map_err(|source| {
        let path = path.to_path_buf();
        CommandError::new(FAILED, LauncherError::OwnFolder { path, source })
    })?;
    let home = Home::at(root);
    check_socket_path(&home.socket(), "config folder").map_err(|error| CommandError::new(FAILED, error))?;
    Ok(home)
}

/// What the configuration says of the log. One that cannot be read is told of afterwards, in that log.
fn level_of(home: &Home) -> Targets {
    let read = Config::read(&home.config()).ok();
    let filter = read.and_then(|config| config.log.level.parse().ok());
    filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// One JSON object per line on standard output, with the launcher's four keys: `timestamp`, `level`, `fields` and `target`. Each line is
/// one write, so that lines of the node, which writes to the same file, stay whole.
fn start_log(filter: Targets) {
    let lines = fmt::layer()
        .json()
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    // A subscriber is set already only in tests that run this twice in a process; theirs is as good.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
}

/// What the environment says.
#[derive(Debug, Clone, PartialEq)]
struct Environment {
    bin_root: PathBuf,
    config_root: PathBuf,
    /// Of `RUST_LOG`; without it the configuration decides.
    filter: Option<Targets>,
    /// A node that fails ends the launcher.
    single_attempt: bool,
    /// Of `CASPER_SHUTDOWN_SCRIPT`; without it the configuration decides.
    script: Option<PathBuf>,
    /// What is ignored, and why.
    problems: Vec<String>,
}

impl Environment {
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str, default: &str| variable(name).map_or_else(|| default.into(), PathBuf::from);
        let mut problems = Vec::new();
        let filter = variable("RUST_LOG").map(|text| filter(&text.to_string_lossy(), &mut problems));
        let single_attempt = match variable("CASPER_LAUNCHER_SINGLE_ATTEMPT") {
            None => false,
            Some(text) if text == "1" => true,
            Some(text) => {
                if !(text.is_empty() || text == "0") {
                    problems.push(format!(
                        "ignoring CASPER_LAUNCHER_SINGLE_ATTEMPT: expected 1 or 0, found {text:?}"
                    ));
                }
                false
            }
        };
        Self {
            bin_root: path("CASPER_BIN_DIR", "/var/lib/casper/bin"),
            config_root: path("CASPER_CONFIG_DIR", "/etc/casper"),
            filter,
            single_attempt,
            script: variable("CASPER_SHUTDOWN_SCRIPT").map(PathBuf::from),
            problems,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            bin_root: self.bin_root.clone(),
            config_root: self.config_root.clone(),
            single_attempt: self.single_attempt,
        }
    }
}

/// The directives of `RUST_LOG` that mean something here; the others are named and ignored.
fn filter(text: &str, problems: &mut Vec<String>) -> Targets {
    let mut filter = Targets::new();
    let mut general = false;
    let mut any = false;
    for directive in text
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
    {
        // Whoever watched the launcher's own lines goes on watching them.
        let ours = directive.replacen("casper_node_launcher", "visor", 1);
        match ours.parse::<Targets>() {
            Ok(parsed) => {
                any = true;
                general |= parsed.default_level().is_some();
                if let Some(level) = parsed.default_level() {
                    filter = filter.with_default(level);
                }
                filter = filter.with_targets(parsed);
            }
            Err(error) => problems.push(format!(
                "ignoring the directive {directive:?} of RUST_LOG: {error}"
            )),
        }
    }
    if any || general {
        filter
    } else {
        filter.with_default(LevelFilter::INFO)
    }
}

/// Why the launcher cannot begin.
#[derive(Debug, thiserror::Error)]
enum LauncherError {
    #[error(
        "read the folder {path:?}: expected the versions of the node there; CASPER_BIN_DIR and CASPER_CONFIG_DIR name the two folders"
    )]
    Root {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "run the node: process {pid} ({program}) is a node of these folders that visor has not started, and a second one would write to the \
         same data. Stop it, with the launcher that started it if that still runs",
        program = program.display()
    )]
    Stranger { pid: i32, program: PathBuf },
    #[error("open the folder {path} for what is visor's own", path = path.display())]
    OwnFolder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables: BTreeMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        Environment::read(|name| variables.get(name).cloned())
    }

    fn parse(arguments: &[&str]) -> Result<Option<String>, bool> {
        let line = [NAME].into_iter().chain(arguments.iter().copied());
        CommandLine::try_parse_from(line)
            .map(|line| line.arguments.force_version.map(|version| version.to_string()))
            .map_err(|error| error.use_stderr())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn casper_2_1_the_command_line_is_the_launchers() {
        assert_eq!(parse(&[]), Ok(None));
        for arguments in [["-f", "1.0.0"], ["--force-version", "1.0.0"]] {
            assert_eq!(parse(&arguments), Ok(Some("1.0.0".to_owned())));
        }
        assert_eq!(
            parse(&["-f", "1.0.0-rc.1+b2"]),
            Ok(Some("1.0.0-rc.1+b2".to_owned()))
        );
        for wrong in ["2_0_0", "v1.0.0", "1.0", "", "01.0.0"] {
            assert_eq!(parse(&["-f", wrong]), Err(true), "{wrong}");
        }
        for wrong in [
            ["validator"].as_slice(),
            &["--casper"],
            &["-f"],
            &["run", "--home", "x"],
        ] {
            assert_eq!(parse(wrong), Err(true), "{wrong:?}");
        }
        for answered in ["-h", "--help", "-V", "--version"] {
            assert_eq!(parse(&[answered]), Err(false), "{answered}");
        }
    }

    #[test]
    fn casper_2_1_the_fourth_word_of_the_version_begins_with_1() {
        use clap::CommandFactory as _;
        let line = CommandLine::command().render_version();
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(words[..3], ["Casper", "node", "launcher"]);
        assert!(
            semver::Version::parse(words[3]).is_ok() && words[3].starts_with('1'),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn casper_2_1_the_name_is_that_of_the_file() {
        for (program, expected) in [
            ("casper-node-launcher", true),
            ("/usr/bin/casper-node-launcher", true),
            ("./casper-node-launcher", true),
            ("visor", false),
            ("casper-node-launcher-old", false),
            ("casper-node-launcher/visor", false),
            ("", false),
        ] {
            assert_eq!(is_named_so(OsStr::new(program)), expected, "{program}");
        }
    }

    #[test]
    fn casper_2_2_the_environment_has_the_launchers_defaults() {
        let plain = environment(&[]);
        assert_eq!(plain.bin_root, Path::new("/var/lib/casper/bin"));
        assert_eq!(plain.config_root, Path::new("/etc/casper"));
        assert_eq!(
            (plain.filter, plain.single_attempt, plain.script),
            (None, false, None)
        );
        let set = environment(&[
            ("CASPER_BIN_DIR", "bin"),
            ("CASPER_CONFIG_DIR", ""),
            ("CASPER_SHUTDOWN_SCRIPT", "/s"),
            ("CASPER_LAUNCHER_SINGLE_ATTEMPT", "1"),
        ]);
        assert_eq!(
            (set.bin_root.as_path(), set.config_root.as_path()),
            (Path::new("bin"), Path::new(""))
        );
        assert_eq!((set.single_attempt, set.script), (true, Some("/s".into())));
        assert_eq!(set.problems, Vec::<String>::new());
        let wrong = environment(&[("CASPER_LAUNCHER_SINGLE_ATTEMPT", "yes")]);
        assert!(!wrong.single_attempt);
        assert_eq!(wrong.problems.len(), 1, "{:?}", wrong.problems);
    }

    #[test]
    fn casper_2_2_a_directive_that_means_nothing_is_ignored_and_named() {
        use tracing::Level;
        let read = |text: &str| {
            let read = environment(&[("RUST_LOG", text)]);
            (read.filter.unwrap(), read.problems)
        };
        let (filter, problems) = read("warn,casper_node_launcher=debug,=what=,x=loud");
        assert!(filter.would_enable("visor::daemon", &Level::DEBUG));
        assert!(!filter.would_enable("other", &Level::INFO));
        assert_eq!(problems.len(), 2, "{problems:?}");
        for all_wrong in ["=what=", "", "x=loud"] {
            let (filter, _) = read(all_wrong);
            assert!(filter.would_enable("visor", &Level::INFO), "{all_wrong:?}");
            assert!(!filter.would_enable("visor", &Level::DEBUG), "{all_wrong:?}");
        }
        let (filter, _) = read("off");
        assert!(!filter.would_enable("visor", &Level::ERROR));
    }
}
