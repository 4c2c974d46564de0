//! What a token can be good for, and what each call asks for. A call that is not in the table is for the owner alone.

use easel_domain::limits::MAX_PAIRING_NAME_BYTES;
use serde::{Deserialize, Serialize};
use tonic_health::pb::health_server;
use tonic_reflection::pb::{v1, v1alpha};

use super::Caller;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Ask what there is.
    Read,
    /// Make pictures.
    Generate,
    /// Sessions and edits in them.
    Sessions,
    /// Load and unload models.
    Models,
}

impl Scope {
    /// Every scope.
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Generate, Self::Sessions, Self::Models];

    /// Those that a client can be paired for.
    pub(crate) const PAIRABLE: [Self; 3] = [Self::Read, Self::Generate, Self::Sessions];

    /// As a person reads it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Generate => "generate",
            Self::Sessions => "sessions",
            Self::Models => "models",
        }
    }
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Everybody, so that a client and a proxy can say what is wrong before they have a token.
    Nothing,
    /// Everybody with a token.
    AnyToken,
    /// Tokens with one of these scopes.
    OneOf(&'static [Scope]),
    /// The daemon's own user.
    Owner,
}

const READ: Needs = Needs::OneOf(&[Scope::Read]);
const GENERATE: Needs = Needs::OneOf(&[Scope::Generate]);
/// What generations and the edits of sessions have in common.
const WORK: Needs = Needs::OneOf(&[Scope::Generate, Scope::Sessions]);
const SESSIONS: Needs = Needs::OneOf(&[Scope::Sessions]);
const MODELS: Needs = Needs::OneOf(&[Scope::Models]);

/// What `/metrics` tells, as `GetStatus` does.
pub(crate) const METRICS: Needs = READ;

/// Services that describe the daemon to tools and proxies.
const OPEN_SERVICES: [&str; 3] = [
    health_server::SERVICE_NAME,
    v1::server_reflection_server::SERVICE_NAME,
    v1alpha::server_reflection_server::SERVICE_NAME,
];

/// Whom the call of a path is for.
pub(crate) fn needs(path: &str) -> Needs {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return Needs::Owner;
    };
    if OPEN_SERVICES.contains(&service) {
        return Needs::Nothing;
    }
    let Some(service) = service.strip_prefix("easel.v1.") else { return Needs::Owner };
    named(service, method).unwrap_or(Needs::Owner)
}

/// The table; a method that is missing here fails a test.
fn named(service: &str, method: &str) -> Option<Needs> {
    Some(match (service, method) {
        ("AccessService", "BeginPairing" | "PollPairing") => Needs::Nothing,
        ("AccessService", "RevokeToken") => Needs::AnyToken,
        ("AccessService", "ListPairings" | "ConfirmPairing" | "RejectPairing" | "ListTokens" | "CreateBrowserCode") => {
            Needs::Owner
        }
        ("BlobService", "BeginUpload" | "AppendUpload" | "FinishUpload" | "ReadBlob" | "GetBlob") => WORK,
        ("GenerationService", "ListGenerations") => READ,
        ("GenerationService", "RunGeneration" | "CreateGeneration") => GENERATE,
        ("GenerationService", "WatchGeneration" | "PollGeneration" | "GetGeneration" | "CancelGeneration") => WORK,
        ("ModelService", "ListModels" | "GetModel" | "ListLoras") => READ,
        ("ModelService", "LoadModel" | "UnloadModel") => MODELS,
        ("ModelService", "AddModel") => Needs::Owner,
        ("SessionService", "CollectGarbage") => Needs::Owner,
        ("SessionService", "CreateSession" | "GetSession" | "ListSessions" | "UpdateSession" | "DeleteSession") => {
            SESSIONS
        }
        ("SessionService", "ListRevisions" | "GetRevision" | "CompareRevisions" | "GoToRevision") => SESSIONS,
        ("SessionService", "UndoSession" | "RedoSession" | "ExportReplay" | "ImportReplay") => SESSIONS,
        ("SessionService", "RunSessionEdit" | "CreateSessionEdit" | "EditSession" | "WatchSession") => SESSIONS,
        ("SystemService", "GetVersion") => Needs::Nothing,
        ("SystemService", "GetCapabilities" | "GetStatus" | "ListConditioning") => READ,
        ("SystemService", "PrepareConditioning") => WORK,
        ("SystemService", "ClearConditioning") => MODELS,
        _ => return None,
    })
}

/// Whether `caller` may make a call that needs this.
pub(crate) fn allows(needs: Needs, caller: &Caller) -> bool {
    match (needs, caller) {
        (Needs::Nothing, _) | (_, Caller::Owner) => true,
        (Needs::AnyToken, Caller::Token(_)) => true,
        (Needs::OneOf(scopes), Caller::Token(known)) => scopes.iter().any(|scope| known.scopes.contains(scope)),
        (Needs::Owner, Caller::Token(_)) | (_, Caller::Nobody) => false,
    }
}

/// The name of a client as it may be shown to the user in a terminal: nothing that moves the cursor.
pub(crate) fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= MAX_PAIRING_NAME_BYTES && name.chars().all(is_plain)
}

/// No control characters, and none that reverse or hide the text around them.
fn is_plain(letter: char) -> bool {
    let hidden =
        matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !letter.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Known;
    use super::*;
    use prost::Message as _;

    #[test]
    fn every_method_of_the_protocol_says_whom_it_is_for() {
        let files = prost_types::FileDescriptorSet::decode(easel_proto::FILE_DESCRIPTOR_SET).unwrap().file;
        let mut seen = 0;
        for service in files.iter().filter(|file| file.package() == "easel.v1").flat_map(|file| &file.service) {
            for method in &service.method {
                let needs = named(service.name(), method.name());
                assert!(needs.is_some(), "say in access/scope.rs whom {}/{} is for", service.name(), method.name());
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn tokens_do_what_their_scopes_say_and_never_what_is_for_the_owner() {
        let token = |scopes: &[Scope]| Caller::Token(Arc::new(Known { id: "tok_1".into(), scopes: scopes.to_vec() }));
        let may = |path: &str, caller: &Caller| allows(needs(path), caller);
        let (run, list, cancel) = (
            "/easel.v1.GenerationService/RunGeneration",
            "/easel.v1.GenerationService/ListGenerations",
            "/easel.v1.GenerationService/CancelGeneration",
        );
        assert!(may(run, &token(&[Scope::Generate])) && !may(run, &token(&[Scope::Read, Scope::Sessions])));
        assert!(may(list, &token(&[Scope::Read])) && !may(list, &token(&[Scope::Generate, Scope::Sessions])));
        assert!(may(cancel, &token(&[Scope::Sessions])) && !may(cancel, &token(&[Scope::Read])));
        for owners in [
            "/easel.v1.ModelService/AddModel",
            "/easel.v1.AccessService/ConfirmPairing",
            "/easel.v1.AccessService/ListTokens",
            "/easel.v1.AccessService/CreateBrowserCode",
            "/easel.v1.SessionService/CollectGarbage",
            "/easel.v1.SystemService/Unheard",
            "/other.Service/GetStatus",
            "/",
            "",
        ] {
            assert!(!may(owners, &token(&Scope::ALL)) && may(owners, &Caller::Owner), "{owners}");
        }
        assert!(!may(run, &Caller::Nobody) && may("/easel.v1.SystemService/GetVersion", &Caller::Nobody));
    }

    #[test]
    fn names_are_words_for_a_person() {
        for right in ["Krita", "Müllers Zeichenbrett", "画"] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", "  ", "a\nb", "\u{1b}[2J", "abc\u{202e}def", &"x".repeat(65), "zero\u{200b}width"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
