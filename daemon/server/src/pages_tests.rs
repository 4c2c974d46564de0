//! What a browser is served, and with which headers.

use super::*;

const STUDIO: [(&str, &[u8]); 3] =
    [("index.html", b"<!doctype html>"), ("assets/index-4f2a.js", b"let x"), ("favicon.svg", b"<svg/>")];

fn pages() -> Pages {
    Pages::of(&STUDIO, Arc::new(Access::open(None).unwrap()))
}

fn ask(method: Method, path: &str, etag: Option<&str>) -> Response {
    let mut request = http::Request::builder().method(method).uri(path).header("host", "127.0.0.1:7461");
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    pages().page(&request.body(()).unwrap().into_parts().0)
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn body(response: Response) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()
}

#[tokio::test]
async fn each_file_has_its_kind_its_tag_and_its_time() {
    for (path, kind, cache, bytes) in [
        ("/", "text/html; charset=utf-8", "no-cache", STUDIO[0].1),
        ("/assets/index-4f2a.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", STUDIO[1].1),
        ("/favicon.svg", "image/svg+xml", "no-cache", STUDIO[2].1),
        ("/open", "text/html; charset=utf-8", "no-cache", OWN[0].1),
        ("/open.js", "text/javascript; charset=utf-8", "no-cache", OWN[2].1),
    ] {
        let got = ask(Method::GET, path, None);
        assert_eq!(got.status(), 200, "{path}");
        assert_eq!((header(&got, "content-type"), header(&got, "cache-control")), (kind, cache), "{path}");
        let etag = header(&got, "etag").to_owned();
        assert_eq!(header(&got, "content-length"), bytes.len().to_string());
        assert_eq!(body(got).await, bytes, "{path}");

        let head = ask(Method::HEAD, path, None);
        assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, &*bytes.len().to_string()));
        assert!(body(head).await.is_empty());

        for known in [etag.clone(), format!("\"other\", W/{etag}")] {
            let known = ask(Method::GET, path, Some(&known));
            assert_eq!((known.status().as_u16(), header(&known, "etag")), (304, &*etag));
            assert!(body(known).await.is_empty());
        }
        assert_eq!(ask(Method::GET, path, Some("\"other\"")).status(), 200);
    }
}

#[test]
fn nothing_but_the_built_files_is_there() {
    for path in ["/index.html", "/assets", "/assets/", "/assets/../open", "/Cargo.toml", "/..%2fopen", "/open/", "//"] {
        assert_eq!(ask(Method::GET, path, None).status(), 404, "{path}");
    }
}

#[test]
fn every_answer_forbids_what_a_page_does_not_need() {
    for path in ["/", "/assets/index-4f2a.js", "/missing"] {
        let got = ask(Method::GET, path, None);
        let policy = header(&got, "content-security-policy");
        for part in ["default-src 'none'", "script-src 'self';", "connect-src 'self';", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!((header(&got, "x-content-type-options"), header(&got, "x-frame-options")), ("nosniff", "DENY"));
        assert_eq!(header(&got, "cross-origin-resource-policy"), "same-origin");
    }
}

#[test]
fn only_the_page_of_a_panel_stands_in_a_frame_and_only_in_that_of_its_host() {
    let got = ask(Method::GET, "/ui/figma", None);
    assert_eq!((got.status().as_u16(), header(&got, "content-type")), (200, "text/html; charset=utf-8"));
    let policy = header(&got, "content-security-policy");
    assert!(policy.ends_with("frame-ancestors https://www.figma.com"), "{policy}");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert_eq!(header(&got, "x-frame-options"), "");
    for path in ["/", "/open", "/ui/figma.js", "/ui/figma.css", "/ui/", "/ui/photoshop"] {
        let got = ask(Method::GET, path, None);
        assert!(header(&got, "content-security-policy").ends_with("frame-ancestors 'none'"), "{path}");
        assert_eq!(header(&got, "x-frame-options"), "DENY", "{path}");
    }
}

#[tokio::test]
async fn a_tree_without_the_studio_says_so() {
    let pages = Pages::of(&[], Arc::new(Access::open(None).unwrap()));
    let request = http::Request::get("/").body(()).unwrap().into_parts().0;
    let text = String::from_utf8(body(pages.page(&request)).await).unwrap();
    assert!(text.contains("no Studio") && text.contains("easel status"), "{text}");
}

#[test]
fn no_page_of_the_daemon_has_anything_inline() {
    for (name, bytes) in
        OWN.iter().chain(std::iter::once(&("index.html", NO_STUDIO))).chain(super::STUDIO).chain(PANELS)
    {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        if kind(name).starts_with("text/html") {
            let inline = ["<script>", "<style", " style=", " onclick=", " onload=", "javascript:"];
            assert!(inline.iter().all(|part| !text.contains(part)), "{name} would be refused by its own policy");
        }
    }
}
