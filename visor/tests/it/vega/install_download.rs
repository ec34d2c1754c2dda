//! Releases are found and downloaded whatever the server does: pages, cuts, wrong sizes, wrong digests, tokens, limits.

use std::fs;
use std::time::Duration;

use serde_json::json;
use visor::adapter::vega::install::{DigestError, DownloadError, InstallError, Installed, ReleaseError};

use super::install_scene::*;
use super::releases::{File, file};

#[tokio::test]
async fn w_49_the_asset_is_found_on_whatever_page_it_is() {
    for no_links in [false, true] {
        let scene = Scene::new().await;
        scene.server.faults(|faults| faults.no_links = no_links);
        let mut files: Vec<File> = (0..230)
            .map(|number| file(&format!("other-{number}"), "x"))
            .collect();
        files.push(file(ASSET, good()));
        scene.server.release(NEW, files);
        scene.made().await;
        assert_eq!(scene.server.asked_for("/assets?per_page=100"), 3);
    }
}

#[tokio::test]
async fn a_release_is_found_in_the_listing_where_tags_have_no_address() {
    let scene = Scene::new().await;
    scene.server.faults(|faults| faults.no_tags = true);
    for number in 0..150 {
        scene.server.release(&format!("v0.1.{number}"), Vec::new());
    }
    let (error, text) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Release(ReleaseError::NoRelease { .. })
    ));
    assert!(
        text.contains("v0.1.0, v0.1.1") && text.contains("goes on by itself"),
        "{text}"
    );
    scene.release(Vec::new());
    scene.made().await;
}

#[tokio::test]
async fn w_48_a_known_sha_256_is_verified_whoever_says_it() {
    let digits = sha256(&good());
    let wrong = sha256(b"other");
    let own = |digits: &str| file(&format!("{ASSET}.sha256"), format!("{digits}  {ASSET}\n"));
    let listing = |digits: &str| {
        file(
            "SHA256SUMS",
            format!("{}  other\n{digits} *{ASSET}\n", "ab".repeat(32)),
        )
    };
    let by_api = |digits: &str| File {
        digest: json!(format!("sha256:{digits}")),
        ..file(ASSET, good())
    };
    let plain = file(ASSET, good());
    for (keys, files, by) in [
        (
            "",
            vec![plain.clone(), own(&digits)],
            "vega-linux-amd64.zip.sha256",
        ),
        ("", vec![listing(&digits), plain.clone()], "SHA256SUMS"),
        ("", vec![by_api(&digits)], "the releases API"),
        (
            "sha256 = { \"v0.80.0\" = \"GOOD\" }",
            vec![plain.clone()],
            "autoInstall.sha256",
        ),
    ] {
        let scene = Scene::new().await;
        scene.configure(&keys.replace("GOOD", &digits));
        scene.server.release(NEW, files);
        let made = scene.made().await;
        assert_eq!(made.verified_by.len(), 1);
        assert!(made.verified_by[0].contains(by), "{made:?}");
    }
    for (keys, files, by) in [
        (
            "",
            vec![plain.clone(), own(&wrong)],
            "vega-linux-amd64.zip.sha256",
        ),
        ("", vec![listing(&wrong), plain.clone()], "SHA256SUMS"),
        ("", vec![by_api(&wrong)], "the releases API"),
        (
            "sha256 = { \"v0.80.0\" = \"WRONG\" }",
            vec![plain.clone()],
            "autoInstall.sha256",
        ),
        // One of several is enough to refuse.
        (
            "sha256 = { \"v0.80.0\" = \"WRONG\" }",
            vec![by_api(&digits), own(&digits)],
            "autoInstall.sha256",
        ),
        (
            "sha256 = { \"v0.80.0\" = \"GOOD\" }",
            vec![by_api(&digits), listing(&wrong)],
            "SHA256SUMS",
        ),
    ] {
        let scene = Scene::new().await;
        scene.configure(&keys.replace("WRONG", &wrong).replace("GOOD", &digits));
        scene.server.release(NEW, files);
        let (error, text) = scene.refused().await;
        assert!(
            matches!(error, InstallError::Digest(DigestError::Other { .. })),
            "{text}"
        );
        assert!(
            text.contains(by) && text.contains(&wrong) && text.contains(&digits),
            "{text}"
        );
        // Not a byte of it is kept.
        assert!(
            files_in(&scene.home().join("staging"))
                .iter()
                .all(|file| !file.ends_with("asset.part"))
        );
    }
    let scene = Scene::new().await;
    scene.release(vec![file(&format!("{ASSET}.sha256"), "<html>not found</html>")]);
    let (error, _) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Digest(DigestError::Unreadable { .. })
    ));
    // It is read before the large file is downloaded.
    assert_eq!(scene.server.sent(), "<html>not found</html>".len());
}

#[tokio::test]
async fn w_48_a_download_that_was_cut_goes_on_where_it_broke_off() {
    let whole = good();
    for (chunked, no_redirect) in [(false, false), (true, false), (false, true)] {
        let scene = Scene::new().await;
        scene.release(Vec::new());
        scene.server.faults(|faults| {
            faults.cut_after = Some((100_000, 2));
            faults.chunked = chunked;
            faults.no_redirect = no_redirect;
        });
        let installer = scene.installer();
        let mut arrived = 0;
        for _ in 0..2 {
            let error = installer.install().await.unwrap_err();
            let text = chain(&error);
            assert!(
                matches!(error, InstallError::Download(DownloadError::Http { .. })),
                "{text}"
            );
            // What the store's address holds is nobody's business.
            assert!(
                text.contains("broken off after") && !text.contains("secret-of-the-store"),
                "{text}"
            );
            scene.assert_nothing_installed();
            let parts = files_in(&scene.home().join("staging"));
            let part = parts.iter().find(|file| file.ends_with("asset.part")).unwrap();
            let here = fs::read(part).unwrap();
            assert!(
                here.len() > arrived && whole.starts_with(&here),
                "{} after {arrived}",
                here.len()
            );
            arrived = here.len();
        }
        scene.server.sent();
        // Another installer: nothing but the files is remembered.
        made(scene.installer().install().await.unwrap());
        assert_eq!(scene.server.sent(), whole.len() - arrived);
        scene.assert_staging_is_empty();
    }
}

#[tokio::test]
async fn a_part_is_thrown_away_when_the_server_cannot_go_on_with_it() {
    let cut = async |scene: &Scene| {
        scene.release(Vec::new());
        scene
            .server
            .faults(|faults| faults.cut_after = Some((100_000, 1)));
        scene.refused().await;
        scene.server.sent();
    };
    // It does not know ranges.
    let scene = Scene::new().await;
    cut(&scene).await;
    scene.server.faults(|faults| faults.no_ranges = true);
    scene.made().await;
    assert_eq!(scene.server.sent(), good().len());
    // It has been uploaded anew.
    let scene = Scene::new().await;
    cut(&scene).await;
    let other = zipped(&[("README", b"new"), ("vega", &binary(NEW))]);
    scene.server.release(NEW, vec![file(ASSET, other.clone())]);
    assert_eq!(scene.made().await.sha256, sha256(&other));
    assert_eq!(scene.server.sent(), other.len());
    // It sends another part than it was asked for: refused, and begun anew.
    let scene = Scene::new().await;
    cut(&scene).await;
    scene.server.faults(|faults| faults.other_range = true);
    let (error, _) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Download(DownloadError::Range { .. })
    ));
    scene.server.faults(|faults| faults.other_range = false);
    scene.server.sent();
    scene.made().await;
    assert_eq!(scene.server.sent(), good().len());
}

#[tokio::test]
async fn a_file_of_another_size_than_the_release_says_is_refused() {
    for (wrong, chunked) in [(-1_i64, false), (1, false), (-1, true), (1, true)] {
        let scene = Scene::new().await;
        let mut asset = file(ASSET, good());
        asset.size = asset.size.checked_add_signed(wrong).unwrap();
        scene.server.release(NEW, vec![asset]);
        scene.server.faults(|faults| faults.chunked = chunked);
        let (error, text) = scene.refused().await;
        let expected = matches!(
            error,
            InstallError::Download(DownloadError::Size { .. } | DownloadError::Short { .. })
        );
        assert!(expected && text.contains("as the release says"), "{text}");
    }
}

#[tokio::test]
async fn a_file_larger_than_the_operator_allows_is_not_downloaded() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let error = scene
        .installer_with(|limits| limits.max_artifact_size = 1000)
        .install()
        .await
        .unwrap_err();
    assert!(chain(&error).contains("at most 1000 bytes (staging.max_artifact_size)"));
    assert_eq!(scene.server.sent(), 0);
    scene.assert_nothing_installed();
}

#[tokio::test]
async fn w_48_a_slow_server_is_given_its_time_and_the_next_attempt_goes_on() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let error = scene
        .installer_with(|limits| limits.fetch_timeout = Duration::ZERO)
        .install()
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::TooSlow { .. }), "{error}");
    scene.assert_nothing_installed();
    scene.made().await;
}

#[tokio::test]
async fn a_token_is_shown_to_the_configured_server_and_to_nobody_else() {
    const TOKEN: &str = "ghp_verysecret";
    let scene = Scene::new().await;
    scene.release(vec![file(&format!("{ASSET}.sha256"), sha256(&good()))]);
    scene
        .server
        .faults(|faults| faults.token = Some(TOKEN.to_owned()));
    // As for a repository that is not there, which is what GitHub says of a private one.
    let (error, text) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Release(ReleaseError::NoRepository { .. })
    ));
    assert!(text.contains("a private repository needs a token"), "{text}");
    for refusal in [401, 403] {
        scene.server.faults(|faults| faults.refusal = Some(refusal));
        for keys in ["", "token = \"ghp_othersecret\""] {
            scene.configure(keys);
            let (error, text) = scene.refused().await;
            assert!(
                matches!(error, InstallError::Release(ReleaseError::NotAllowed { .. })),
                "{text}"
            );
            assert!(
                text.contains("Bad credentials") && text.contains("autoInstall.token"),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }
    scene.configure("tokenFile = \"token\"");
    let (_, text) = scene.refused().await;
    assert!(
        text.contains("tokenFile") && text.contains("home/token"),
        "{text}"
    );
    fs::write(scene.home().join("token"), format!("{TOKEN}\n")).unwrap();
    scene.made().await;
    let asked = scene.server.asked();
    assert!(asked.iter().any(|asked| asked.elsewhere));
    for asked in asked.iter().filter(|asked| asked.elsewhere) {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
    assert!(asked.iter().all(|asked| {
        asked.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("visor/")
    }));
    let written = fs::read_to_string(scene.folder().join("installed-from.toml")).unwrap();
    assert!(!written.contains("secret"), "{written}");
}

#[tokio::test]
async fn a_rate_limit_is_told_and_obeyed() {
    let until = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1000;
    let message = r#"{"message":"API rate limit exceeded for 192.0.2.1."}"#;
    for (status, headers) in [
        (
            403,
            vec![
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", until.to_string()),
            ],
        ),
        (429, vec![("retry-after", "1000".to_owned())]),
        (403, Vec::new()),
    ] {
        let scene = Scene::new().await;
        scene.release(Vec::new());
        scene
            .server
            .faults(|faults| faults.api = Some((status, headers.clone(), message.to_owned())));
        let installer = scene.installer();
        let error = installer.install().await.unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(error, InstallError::Release(ReleaseError::RateLimited { .. })),
            "{text}"
        );
        assert!(
            text.contains("exceeded for 192.0.2.1") && text.contains("a token raises the limit"),
            "{text}"
        );
        assert!(
            text.contains("asked again in")
                && (headers.is_empty() || text.contains(" 100") || text.contains(" 99")),
            "{text}"
        );
        // It is left alone, and the operator is told still.
        scene.server.faults(|faults| faults.api = None);
        let requests = scene.server.asked().len();
        let error = installer.install().await.unwrap_err();
        assert!(
            matches!(error, InstallError::Waiting { .. }) && chain(&error).contains("exceeded for 192.0.2.1")
        );
        assert_eq!(scene.server.asked().len(), requests);
        // A folder that is put there counts at once.
        scene.run_config(NEW, &RUN_CONFIG.replace("/opt/vega", "vega"));
        fs::write(scene.folder().join("vega"), binary(NEW)).unwrap();
        assert_eq!(installer.install().await.unwrap(), Installed::Found);
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_something_else_is_named() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    for (status, body, because) in [
        (500, "oops", "found 500 (oops)"),
        (
            200,
            "<html>login</html>",
            "expected JSON in the shape of GitHub's",
        ),
        (200, "{\"id\":1}", "tag_name"),
    ] {
        scene
            .server
            .faults(|faults| faults.api = Some((status, Vec::new(), body.to_owned())));
        let (_, text) = scene.refused().await;
        assert!(
            text.contains(because) && text.contains("/releases/tags/v0.80.0"),
            "{text}"
        );
    }
    scene.server.faults(|faults| faults.api = None);
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    scene.write_config(&format!(
        "[autoInstall]\nenabled = true\nbaseUrl = \"http://me:password@127.0.0.1:{port}/api\"\n"
    ));
    let (error, text) = scene.refused().await;
    assert!(
        matches!(error, InstallError::Release(ReleaseError::Http { .. })),
        "{text}"
    );
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && !text.contains("password"),
        "{text}"
    );
}
