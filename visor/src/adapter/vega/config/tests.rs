use super::*;

fn parsed(text: &str) -> Read {
    parse(Path::new("config.toml"), text).unwrap()
}

fn refused(text: &str) -> String {
    parse(Path::new("config.toml"), text).unwrap_err().to_string()
}

/// As Vega Visor's `init` writes it.
const WRITTEN: &str = "maxNumberOfFirstConnectionRetries = 175000
maxNumberOfRestartConnectionRetries = 10
maxNumberOfRestarts = 3
restartsDelaySeconds = 5
stopDelaySeconds = 0
stopSignalTimeoutSeconds = 15

[upgradeFolders]
  \"vX.X.X\" = \"vX.X.X\"

[autoInstall]
  enabled = true
  repositoryOwner = \"vegaprotocol\"
  repository = \"vega\"
  [autoInstall.asset]
    name = \"vega-linux-amd64.zip\"
    binaryName = \"vega\"
";

#[test]
fn w_30_absent_keys_get_what_init_writes_and_not_0() {
    let written = parsed(WRITTEN);
    assert_eq!(written.unknown, BTreeSet::new());
    let absent = parsed("");
    assert_eq!(absent.settings, Settings::default());
    let mut same = written.settings.clone();
    same.upgrade_folders.clear();
    same.auto_install.asset.name = default_asset();
    // A switch that is absent is off, as it always was.
    same.auto_install.enabled = false;
    assert_eq!(absent.settings, same);
    assert_eq!(written.settings.upgrade_folders["vX.X.X"], "vX.X.X");
}

#[test]
fn every_key_is_read_in_any_case() {
    let text = "maxNumberOfFirstConnectionRetries = 1
MAXNUMBEROFRESTARTCONNECTIONRETRIES = 2
maxNumberOfRestarts = 3
restartsdelayseconds = 4
stopDelaySeconds = 5
stopSignalTimeoutSeconds = 6
[upgradefolders]
\"v0.80.0\" = \"eighty\"
[autoInstall]
Enabled = true
repositoryOwner = \"owner\"
repository = \"repo\"
baseUrl = \"http://127.0.0.1:8080/api/\"
token = \"T\"
[autoInstall.asset]
name = \"vega-linux\"
[autoInstall.sha256]
\"v0.80.0\" = \"0101010101010101010101010101010101010101010101010101010101010101\"
";
    let Read { settings, unknown } = parsed(text);
    assert_eq!(unknown, BTreeSet::new());
    let seconds = Duration::from_secs;
    assert_eq!(
        (
            settings.first_connection_retries,
            settings.restart_connection_retries
        ),
        (1, 2)
    );
    assert_eq!((settings.restarts, settings.restarts_delay), (3, seconds(4)));
    assert_eq!(
        (settings.stop_delay, settings.stop_signal_timeout),
        (seconds(5), seconds(6))
    );
    assert_eq!(settings.upgrade_folders["v0.80.0"], "eighty");
    let install = settings.auto_install;
    assert!(install.enabled);
    assert_eq!(
        (install.repository_owner.as_str(), install.repository.as_str()),
        ("owner", "repo")
    );
    // Without a binary's name the asset is the binary.
    assert_eq!(install.asset.binary(), "vega-linux");
    assert_eq!(install.base_url.reveal(), "http://127.0.0.1:8080/api");
    assert_eq!(install.sha256["v0.80.0"], [1; 32]);
    assert_eq!(install.token.read(Path::new("/")).unwrap().unwrap().reveal(), "T");
}

#[test]
fn w_51_the_default_asset_is_for_this_host_and_an_archive_is_no_binary() {
    let asset = parsed("").settings.auto_install.asset;
    assert!(asset.name.starts_with("vega-linux-") || !cfg!(target_os = "linux"));
    assert_eq!(asset.name.contains("amd64"), cfg!(target_arch = "x86_64"));
    assert_eq!(asset.binary(), "vega");
    let asset = |text: &str| parsed(text).settings.auto_install.asset;
    assert_eq!(asset("[autoInstall.asset]\nname = \"x.ZIP\"").binary(), "vega");
    assert_eq!(asset("[autoInstall.asset]\nname = \"x\"").binary(), "x");
    assert_eq!(asset("[autoInstall.asset]\nname = \"\"").name, default_asset());
}

#[test]
fn unknown_keys_are_passed_over_and_named() {
    let text = "later = 1\n[autoInstall]\nassets = { vega = { name = \"x\" } }\n[autoInstall.asset]\nkind = \"zip\"\n[other]\na = 1";
    let unknown = parsed(text).unknown;
    assert_eq!(
        unknown.into_iter().collect::<Vec<_>>(),
        ["autoInstall.asset.kind", "autoInstall.assets", "later", "other"]
    );
}

#[test]
fn senseless_values_are_refused_with_line_and_key() {
    for (text, parts) in [
        (
            "\nstopDelaySeconds = -1",
            ["line 2", "stopDelaySeconds", "found -1"],
        ),
        (
            "maxNumberOfRestarts = -1",
            ["config.toml", "line 1", "maxNumberOfRestarts"],
        ),
        (
            "maxNumberOfRestarts = \"3\"",
            ["line 1", "maxNumberOfRestarts", "found a text"],
        ),
        (
            "[upgradeFolders]\n\"v1.0.0\" = \"../x\"",
            ["line 2", "upgradeFolders.v1.0.0", "found \"../x\""],
        ),
        (
            "[upgradeFolders]\n\"v1.0.0\" = \"/x\"",
            ["line 2", "upgradeFolders.v1.0.0", "without separators"],
        ),
        ("upgradeFolders = 3", ["line 1", "upgradeFolders", "a table"]),
        (
            "[autoInstall]\nrepositoryOwner = \"a/b\"",
            ["line 2", "autoInstall.repositoryOwner", "a/b"],
        ),
        (
            "[autoInstall.asset]\nname = \"../vega\"",
            ["line 2", "autoInstall.asset.name", "../vega"],
        ),
        (
            "[autoInstall]\nbaseUrl = \"ftp://x/y\"",
            ["line 2", "autoInstall.baseUrl", "http://"],
        ),
        (
            "[autoInstall.sha256]\n\"v1.0.0\" = \"ab\"",
            ["line 2", "autoInstall.sha256.v1.0.0", "64 hexadecimal digits"],
        ),
        (
            "[autoInstall]\ntoken = \"a\"\ntokenFile = \"b\"",
            ["line 3", "autoInstall.tokenFile", "either"],
        ),
    ] {
        let error = refused(text);
        for part in parts {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}

#[test]
fn a_token_is_never_shown() {
    for text in [
        "[autoInstall]\ntoken = \"SECRET SECRET\"",
        "[autoInstall]\ntoken = \"SECRET",
        "[autoInstall]\ntoken = [\"SECRET\"]",
        "[autoInstall]\nbaseUrl = \"ftp://user:SECRET@x/SECRET\"",
        "[autoInstall]\ntoken = \"SECRET\"\nenabled = 1",
    ] {
        let error = refused(text);
        assert!(!error.contains("SECRET"), "{error}");
    }
    let settings = parsed("[autoInstall]\ntoken = \"SECRET\"\nbaseUrl = \"http://u:SECRET@x\"").settings;
    let shown = format!("{settings:?}");
    assert!(!shown.contains("SECRET") && shown.contains("http://x"), "{shown}");
}

#[test]
fn a_token_file_is_read_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let source = parsed("[autoInstall]\ntokenFile = \"token\"")
        .settings
        .auto_install
        .token;
    let error = crate::cli::chain(&source.read(dir.path()).unwrap_err());
    assert!(
        error.contains("tokenFile") && error.contains("No such file"),
        "{error}"
    );
    for (content, token) in [("abc\n", Some("abc")), ("", None), ("a b", None)] {
        std::fs::write(dir.path().join("token"), content).unwrap();
        let read = source.read(dir.path());
        match token {
            Some(token) => assert_eq!(read.unwrap().unwrap().reveal(), token),
            None => assert!(!read.unwrap_err().to_string().contains("a b")),
        }
    }
}
