//! What bad input gets: for each a code, a reason, the field, and a sentence; the daemon goes on serving.

use easel_proto::v1;
use easel_proto::v1::image_source::Source;
use tonic::{Code, Status};

use crate::support::{Daemon, create, ended, png, quick, spec, told};

/// What a client sends, and what it is told.
struct Case {
    name: &'static str,
    spec: v1::GenerationSpec,
    code: Code,
    reason: &'static str,
    /// The field that is named; empty when the error is about no field.
    field: &'static str,
}

fn wrong(name: &'static str, spec: v1::GenerationSpec, field: &'static str) -> Case {
    Case { name, spec, code: Code::InvalidArgument, reason: "INVALID_REQUEST", field }
}

fn with(change: impl FnOnce(&mut v1::GenerationSpec)) -> v1::GenerationSpec {
    let mut spec = spec("a red circle");
    change(&mut spec);
    spec
}

fn with_picture(bytes: Vec<u8>) -> v1::GenerationSpec {
    with(|spec| spec.image = Some(v1::ImageSource { source: Some(Source::Inline(bytes.into())) }))
}

fn with_hash(hash: &str) -> v1::GenerationSpec {
    with(|spec| spec.image = Some(v1::ImageSource { source: Some(Source::Sha256(hash.into())) }))
}

/// A PNG whose header announces 50,000 x 50,000 pixels, with a right checksum.
fn huge_header() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    file.extend_from_slice(&50_000u32.to_be_bytes());
    file.extend_from_slice(&50_000u32.to_be_bytes());
    file.extend_from_slice(&[8, 2, 0, 0, 0]);
    let checksum = crc32(&file[12..]);
    file.extend_from_slice(&checksum.to_be_bytes());
    file.extend_from_slice(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn cases() -> Vec<Case> {
    let whole = png(64, 64);
    let picture = |name, bytes| Case { reason: "INVALID_IMAGE", ..wrong(name, with_picture(bytes), "spec.image") };
    vec![
        wrong("zero bytes", with_picture(vec![]), "spec.image.inline"),
        picture("a truncated file", whole[..whole.len() / 2].to_vec()),
        picture("no picture", b"<html>not a picture</html>".to_vec()),
        Case { reason: "IMAGE_TOO_LARGE", ..picture("a header of 50,000 x 50,000", huge_header()) },
        wrong("more than 2 MiB inline", with_picture(vec![1; 2 * 1024 * 1024 + 1]), "spec.image.inline"),
        wrong("a hash that is none", with_hash("0xabc"), "spec.image.sha256"),
        Case {
            code: Code::NotFound,
            reason: "BLOB_NOT_FOUND",
            ..wrong("an unknown blob", with_hash(&"ab".repeat(32)), "")
        },
        Case {
            code: Code::NotFound,
            reason: "MODEL_NOT_FOUND",
            ..wrong("an unknown model", with(|spec| spec.model = "nobody".into()), "")
        },
        Case {
            code: Code::NotFound,
            reason: "MODEL_NOT_FOUND",
            ..wrong("a model's name of a megabyte", with(|spec| spec.model = "x".repeat(1 << 20)), "")
        },
        wrong("an empty prompt", with(|spec| spec.prompt.clear()), "spec.prompt"),
        wrong("a blank prompt", with(|spec| spec.prompt = " \n".into()), "spec.prompt"),
        wrong("a prompt of 100,000 characters", with(|spec| spec.prompt = "x".repeat(100_000)), "spec.prompt"),
        wrong("a token of a picture", with(|spec| spec.prompt = "a <|image_pad|> b".into()), "spec.prompt"),
        wrong("a NUL", with(|spec| spec.prompt = "a\0b".into()), "spec.prompt"),
        wrong("guidance that is no number", with(|spec| spec.guidance_scale = Some(f32::NAN)), "spec.guidance_scale"),
        wrong("negative guidance", with(|spec| spec.guidance_scale = Some(-1.0)), "spec.guidance_scale"),
        wrong(
            "infinite image guidance",
            with(|spec| spec.image_guidance_scale = Some(f32::INFINITY)),
            "spec.image_guidance_scale",
        ),
        wrong("a size of 0", with(|spec| (spec.width, spec.height) = (Some(0), Some(64))), "spec.width"),
        wrong("a size of 7", with(|spec| (spec.width, spec.height) = (Some(64), Some(7))), "spec.height"),
        wrong("a size of 100,000", with(|spec| (spec.width, spec.height) = (Some(100_000), Some(64))), "spec.width"),
        wrong("the largest size", with(|spec| (spec.width, spec.height) = (Some(u32::MAX), Some(64))), "spec.width"),
        wrong("a width alone", with(|spec| spec.width = Some(64)), "spec.height"),
        wrong("no steps", with(|spec| spec.num_inference_steps = Some(0)), "spec.num_inference_steps"),
        wrong("no pictures", with(|spec| spec.num_images = Some(0)), "spec.num_images"),
        wrong("sigmas that rise", with(|spec| spec.sigmas = vec![0.5, 1.0]), "spec.sigmas[1]"),
        wrong("a sigma that is no number", with(|spec| spec.sigmas = vec![1.0, f32::NAN]), "spec.sigmas[1]"),
        wrong("an unknown mode", with(|spec| spec.mode = 99), "spec.mode"),
        wrong("an unknown format", with(|spec| spec.output_format = -7), "spec.output_format"),
        wrong("an edit without a picture", with(|spec| spec.mode = v1::Mode::Edit.into()), "spec.image"),
        wrong("a picture that is not said", with(|spec| spec.image = Some(v1::ImageSource::default())), "spec.image"),
    ]
}

fn check(case: &Case, status: &Status) {
    let (code, reason, fields) = told(status);
    assert_eq!((code, reason.as_str()), (case.code, case.reason), "{}: {status:?}", case.name);
    assert!(status.message().len() > 10, "{}: {status:?}", case.name);
    match case.field {
        "" => assert!(fields.is_empty(), "{}: {fields:?}", case.name),
        field => {
            assert!(fields.iter().any(|found| found.starts_with(field)), "{}: {fields:?}", case.name);
        }
    }
}

#[tokio::test]
async fn each_is_refused_by_both_ways_of_creating_and_the_daemon_goes_on() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    for case in cases() {
        let create = v1::CreateGenerationRequest { spec: Some(case.spec.clone()), policy: None };
        check(&case, &client.create_generation(create).await.unwrap_err());
        let run = v1::RunGenerationRequest { spec: Some(case.spec.clone()), policy: None };
        check(&case, &client.run_generation(run).await.unwrap_err());
    }
    let id = create(&mut client, "a red circle").await;
    assert_eq!(ended(&mut client, &id).await.state(), v1::GenerationState::Succeeded);
}

#[tokio::test]
async fn a_request_without_anything_is_told_what_it_lacks() {
    let daemon = Daemon::start(quick()).await;
    let status = daemon.generations().run_generation(v1::RunGenerationRequest::default()).await.unwrap_err();
    assert_eq!(told(&status), (Code::InvalidArgument, "INVALID_REQUEST".into(), vec!["spec.prompt".into()]));
}

#[tokio::test]
async fn wrong_pages_polls_and_names_are_refused() {
    let daemon = Daemon::start(quick()).await;
    let mut client = daemon.generations();
    let list =
        v1::ListGenerationsRequest { page_size: Some(0), page_token: "../../etc".into(), states: vec![1, 77, 0] };
    let status = client.list_generations(list).await.unwrap_err();
    assert_eq!(told(&status).2, ["page_size", "page_token", "states[1]", "states[2]"]);
    let wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
    let poll = v1::PollGenerationRequest { wait, ..Default::default() };
    assert_eq!(told(&client.poll_generation(poll).await.unwrap_err()).2, ["id", "wait"]);
    let status = daemon.models().get_model(v1::GetModelRequest::default()).await.unwrap_err();
    assert_eq!(told(&status).2, ["name"]);
    let add = v1::AddModelRequest { folder: "relative/folder".into(), name: "Not Allowed".into() };
    assert_eq!(told(&daemon.models().add_model(add).await.unwrap_err()).2, ["folder", "name"]);
}

#[tokio::test]
async fn a_message_over_the_limit_and_a_call_that_does_not_exist_are_refused() {
    let daemon = Daemon::start(quick()).await;
    let large = v1::RunGenerationRequest { spec: Some(with_picture(vec![0; 5 * 1024 * 1024])), policy: None };
    let status = daemon.generations().run_generation(large).await.unwrap_err();
    assert_eq!((told(&status).0, told(&status).1.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(status.message().contains("upload"), "{}", status.message());
    let mut grpc = tonic::client::Grpc::new(daemon.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::GetVersionRequest, v1::GetVersionResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/easel.v1.SystemService/Nonsense");
    let request = tonic::Request::new(v1::GetVersionRequest {});
    assert_eq!(grpc.unary(request, path, codec).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let daemon = Daemon::start(quick()).await;
    let mut grpc = tonic::client::Grpc::new(daemon.channel());
    grpc.ready().await.unwrap();
    // A blob's `sha256` stands where a spec should be: a string that is no message.
    let codec = tonic_prost::ProstCodec::<v1::GetBlobRequest, v1::CreateGenerationResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/easel.v1.GenerationService/CreateGeneration");
    let request = tonic::Request::new(v1::GetBlobRequest { sha256: "\u{7f}nonsense".into() });
    let status = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!((told(&status).0, told(&status).1.as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    use tonic_types::StatusExt as _;
    let daemon = Daemon::start_with(crate::support::endless(), |config| config.max_queued_generations = 2).await;
    let mut client = daemon.generations();
    for i in 0..2 {
        create(&mut client, &format!("number {i}")).await;
    }
    let status = client.create_generation(crate::support::create_request("one too many")).await.unwrap_err();
    assert_eq!((told(&status).0, told(&status).1.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    assert!(status.get_error_details().retry_info().unwrap().retry_delay.is_some());
}
