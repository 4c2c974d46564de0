//! Every number that bounds something, unit last, each with its reason, and what must hold between them. Capabilities
//! tell clients the ones that concern them.

use std::time::Duration;

/// Bytes of a prompt. The encoder sees at most 200 tokens in generate mode; an edit instruction of this size is about
/// 2,000 tokens, as many as the largest source picture adds ten times over.
pub const MAX_PROMPT_BYTES: usize = 8 * 1024;

/// Bytes of a request id that a client chooses.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Bytes of a model's name.
pub const MAX_MODEL_NAME_BYTES: usize = 64;

/// Working sizes are multiples of this many pixels: the VAE halves three times and the source is floored to 16.
pub const SIZE_MULTIPLE_PX: u32 = 16;

/// Longest edge of a result in pixels, whatever the model.
pub const MAX_EDGE_PX: u32 = 8192;

/// Pixels of a result or of a working size: 4096 x 4096.
pub const MAX_OUTPUT_PIXELS: u64 = 4096 * 4096;

/// Longest edge of a WebP file in pixels: its header has 14 bits for a side.
pub const WEBP_MAX_EDGE_PX: u32 = 16_383;

/// Longest edge of a source picture in pixels.
pub const MAX_SOURCE_EDGE_PX: u32 = 32_768;

/// Pixels of a source picture: 64 megapixels, 192 MiB as RGB.
pub const MAX_SOURCE_PIXELS: u64 = 64 * 1024 * 1024;

/// Bytes that decoding one picture may allocate: 64 megapixels of 16-bit RGBA are 512 MiB.
pub const MAX_DECODE_BYTES: u64 = 512 * 1024 * 1024;

/// Bytes of a picture that stands in a request.
pub const MAX_INLINE_IMAGE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of a result or preview that stands in an answer; larger ones are fetched by their hash.
pub const MAX_INLINE_RESULT_BYTES: usize = 1024 * 1024;

/// Bytes of one chunk of an upload or a download.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// Bytes of all pictures that stand in one answer; further ones are fetched by their hash.
pub const MAX_INLINE_ANSWER_BYTES: usize = 3 * 1024 * 1024;

/// Bytes of one gRPC message in either direction; the usual limit of clients is 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one blob.
pub const MAX_BLOB_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of all blobs that are kept in memory.
pub const MAX_BLOB_STORE_BYTES: u64 = 1024 * 1024 * 1024;

/// Uploads that may be under way at one time.
pub const MAX_UPLOADS: usize = 32;

/// An upload that nobody appends to is dropped after this time.
pub const UPLOAD_IDLE: Duration = Duration::from_secs(10 * 60);

/// Denoising steps.
pub const MAX_NUM_INFERENCE_STEPS: u32 = 100;

/// Guidance scales.
pub const MAX_GUIDANCE_SCALE: f32 = 30.0;

/// LoRAs of one generation.
pub const MAX_LORAS: usize = 8;

/// Largest weight of a LoRA, and smallest with a minus.
pub const MAX_LORA_WEIGHT: f32 = 4.0;

/// Bytes of the name of a LoRA.
pub const MAX_LORA_NAME_BYTES: usize = 128;

/// Bytes of a file of a LoRA: as large as a blob may be; all linear layers of the published U-Net at rank 64 are 110 MiB in f32.
pub const MAX_LORA_BYTES: u64 = MAX_BLOB_BYTES;

/// Tensors of a file of a LoRA: three for each of the 420 layers of the published U-Net that can be adapted, and room.
pub const MAX_LORA_TENSORS: usize = 8192;

/// Rank of one layer of a LoRA. PEFT asks for one rank for each channel of a depthwise convolution, of which the published
/// U-Net has up to 3,584.
pub const MAX_LORA_RANK: usize = 4096;

/// Bytes of LoRAs that are kept between generations, as f32: a few of the usual rank.
pub const LORA_CACHE_BYTES: u64 = 512 * 1024 * 1024;

/// Files of the folder of LoRAs that are listed.
pub const MAX_LISTED_LORAS: usize = 1000;

/// Names that an error lists before it only counts.
pub const MAX_NAMED_KEYS: usize = 4;

/// Pictures of one generation.
pub const MAX_NUM_IMAGES: u32 = 16;

/// Generations that wait or run at one time.
pub const MAX_QUEUED_GENERATIONS: usize = 64;

/// Longest edge of a preview in pixels.
pub const MAX_PREVIEW_EDGE_PX: u32 = 4096;

/// Shortest longest-edge of a preview in pixels.
pub const MIN_PREVIEW_EDGE_PX: u32 = 16;

/// Longest time that a generation may be given.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest wait of a poll.
pub const MAX_POLL_WAIT: Duration = Duration::from_secs(60);

/// State events of a generation that are kept for watchers that come back; 16 pictures of 100 steps
/// have 108 each, and 80 more tell of the queue and the encoders.
pub const MAX_KEPT_EVENTS: usize = 2048;

/// State events that a watcher may lag behind before it is cut off; it comes back with its sequence number.
pub const MAX_WATCH_LAG: usize = 256;

/// Ended generations that can still be asked for.
pub const MAX_KEPT_GENERATIONS: usize = 1000;

/// How long an ended generation can still be asked for.
pub const GENERATION_RETENTION: Duration = Duration::from_secs(60 * 60);

/// Commands that may wait in front of an actor. Each generation has at most one command with each of the three actors, and
/// some room is left for loads and unloads.
pub const ACTOR_MAILBOX: usize = 128;

/// Connections that may be open at one time, over all listeners.
pub const MAX_CONNECTIONS: usize = 256;

/// A connection that sends nothing is closed after this time.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// HTTP/1 headers must be complete within this time.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of an HTTP/1 request may pause for this long.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP/2 connection that has been silent for this long is asked for a sign of life.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A connection that does not answer is closed after this time.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon that is told to stop reports NOT_SERVING and goes on accepting for this long, so that a proxy in front of it
/// loses no request; checks of health every second see it in time.
pub const LAME_DUCK: Duration = Duration::from_secs(3);

/// Streams get this long for their last bytes after the last generation has ended.
pub const STREAM_FLUSH: Duration = Duration::from_secs(2);

/// Streams of one HTTP/2 connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 128;

/// Bytes of the headers of a request.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A model that nobody uses stays in memory for this long, unless a setting or a request says otherwise.
pub const MODEL_KEEP_ALIVE: Duration = Duration::from_secs(15 * 60);

/// Longest time that a request may keep its model in memory.
pub const MAX_KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// The machine is short of memory when programs can have less than this without swapping, in bytes; no longer when they can have
/// twice as much.
pub const LOW_MEMORY_BYTES: u64 = 384 << 20;

/// Time between two looks at the memory of the machine.
pub const MEMORY_TICK: Duration = Duration::from_secs(5);

/// An actor that faults is rebuilt at most this many times within [`RESTART_WINDOW`].
pub const MAX_RESTARTS: usize = 5;

/// See [`MAX_RESTARTS`].
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// An actor that is busy and passes no checkpoint for this long is taken for frozen; the longest part between two checkpoints, one block of the
/// U-Net at the largest size on a slow machine, stays well below.
pub const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Generations of one urgency that may have begun at one time: one in each actor, one that is written, and the rest wait
/// without holding intermediate results.
pub const MAX_BEGUN_GENERATIONS: usize = 4;

/// Pictures that may be decoded, resized or encoded at one time, beside the actors.
pub const PIXEL_WORKERS: usize = 2;

/// Bytes of decoded source pictures that waiting and running generations may hold together: five of the largest.
pub const MAX_HELD_SOURCE_BYTES: u64 = 1024 * 1024 * 1024;

/// Running generations get this long to finish when the daemon is told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a log file before the next is begun: a day of a busy daemon at `info`.
pub const LOG_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Log files that are kept beside the one that is written: 48 MiB in all.
pub const KEPT_LOG_FILES: usize = 5;

/// Bytes of the JSON header of a safetensors file; the published text encoder has 0.1 MiB.
pub const MAX_SAFETENSORS_HEADER_BYTES: u64 = 16 * 1024 * 1024;

/// Files whose digests are remembered: a hundred checkpoints of ten files, and as many LoRAs.
pub const MAX_KNOWN_DIGESTS: usize = 2048;

/// Weight files of a model up to this size are digested when it is added, larger ones beside what comes next: a twentieth of
/// a second.
pub const DIGESTED_AT_ONCE_BYTES: u64 = 64 * 1024 * 1024;

/// Parameters from which on an encoder is kept in `q8_0` when nobody says in which precision: 1 GiB as f32. That of the
/// published model has eight times as many.
pub const LARGE_ENCODER_PARAMETERS: u64 = 256 * 1024 * 1024;

/// Bytes of all blobs on disk, unless the settings say otherwise.
pub const DEFAULT_STORE_QUOTA_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Smallest quota of the store: the largest source and a result of it.
pub const MIN_STORE_QUOTA_BYTES: u64 = 2 * MAX_BLOB_BYTES;

/// Bytes of blobs that are kept in memory when the state folder has them as well: the largest upload and some room.
pub const BLOB_CACHE_BYTES: u64 = 2 * MAX_BLOB_BYTES;

/// Days that sessions and generations are kept, unless the settings say otherwise.
pub const DEFAULT_KEEP_DAYS: u32 = 30;

/// Pictures that nothing names are kept for this long: a client has uploaded them and is about to use them.
pub const UNNAMED_BLOB_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests that may wait in front of the store's thread.
pub const STORE_MAILBOX: usize = 256;

/// Events that the store writes in one transaction.
pub const STORE_BATCH: usize = 128;

/// The store looks this often whether something is due: retention, ends that could not be written.
pub const STORE_TICK: Duration = Duration::from_secs(30);

/// Sequence numbers that may have been told and lost in a power cut: progress is written without waiting for the disk, at most
/// this many events of a generation before one that waits. A generation that runs again begins beyond them.
pub const MAX_UNSYNCED_EVENTS: u64 = 512;

/// A generation that ran this many times when the daemon ended in disorder fails instead of running again: it may be the cause.
pub const MAX_FAULTS: u32 = 5;

/// A generation that ends with its last watcher waits this long for one after a restart.
pub const RECOVERY_GRACE: Duration = Duration::from_secs(30);

/// Bytes of a session's name.
pub const MAX_SESSION_NAME_BYTES: usize = 256;

/// Revisions of a session.
pub const MAX_REVISIONS: u64 = 10_000;

/// Revisions that redo remembers.
pub const MAX_REDO: usize = 1000;

/// Steps of a replay file.
pub const MAX_REPLAY_STEPS: usize = 256;

/// Viewers of one session.
pub const MAX_SESSION_VIEWERS: usize = 64;

/// Generations that a viewer who comes back may name: as many as can run at one time.
pub const MAX_SEEN_GENERATIONS: usize = MAX_QUEUED_GENERATIONS;

/// Live work of a session that nobody views or asks for ends after this time.
pub const LIVE_LEASE: Duration = Duration::from_secs(30);

/// A generation that waits this long counts as one class more urgent, so that none starves.
pub const AGING: Duration = Duration::from_secs(20);

/// A begun generation that a more urgent class keeps from an actor for this long, times the classes between them, gets one turn: a
/// batch of four steps under permanent live work is done within a minute, and live work loses a step every ten seconds.
pub const STEP_AGING: Duration = Duration::from_secs(5);

/// Memory that a generation is taken to need for each pixel of its working size: the VAE holds three times 64 channels of 32 bits
/// at full size, and the rest of the stages less.
pub const PEAK_BYTES_PER_PIXEL: u64 = 1024;

/// Generations of one client that wait or run: half of the queue, so that another client always finds room.
pub const MAX_CLIENT_GENERATIONS: usize = MAX_QUEUED_GENERATIONS / 2;

/// Bytes of the name that a client gives itself.
pub const MAX_CLIENT_NAME_BYTES: usize = 128;

/// Pairings that may wait for the user at one time; nobody reads more codes at once.
pub const MAX_PENDING_PAIRINGS: usize = 8;

/// Of them those from one origin, so that a page cannot keep a program from pairing.
pub const MAX_PENDING_PAIRINGS_OF_ONE: usize = MAX_PENDING_PAIRINGS / 2;

/// A pairing that the user does not answer is forgotten after this time: long enough to find a terminal.
pub const PAIRING_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Pairings that may be begun at once; after them one for each [`PAIRING_INTERVAL`].
pub const PAIRING_BURST: u32 = 16;

/// See [`PAIRING_BURST`].
pub const PAIRING_INTERVAL: Duration = Duration::from_secs(5);

/// Letters of the code of a pairing, of an alphabet of twenty: 2.5e10 codes.
pub const PAIRING_CODE_LETTERS: usize = 8;

/// Wrong codes that are confirmed or rejected before every pending pairing is forgotten: one guess in 3e8 hits.
pub const MAX_WRONG_PAIRING_CODES: u32 = 10;

/// Bytes of the name that a client gives itself for pairing.
pub const MAX_PAIRING_NAME_BYTES: usize = 64;

/// Tokens that clients may have been given.
pub const MAX_PAIRED_TOKENS: usize = 64;

/// Browsers that are signed in to the Studio; one more signs out the one that was used least recently.
pub const MAX_BROWSERS: usize = 8;

/// A browser that was signed in is so for this time.
pub const BROWSER_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A code that signs a browser in is good for this time.
pub const BROWSER_CODE_LIFETIME: Duration = Duration::from_secs(60);

/// Codes for browsers that may be out at one time.
pub const MAX_BROWSER_CODES: usize = 4;

/// The last use of a token is remembered this exactly, so that calls do not write to the disk.
pub const LAST_USE_RESOLUTION: Duration = Duration::from_secs(60);

/// Pixels by which a selection may grow, be feathered or blend, each: a disc of this radius costs about 2,000 operations for a pixel
/// of the mask, a few seconds for a canvas of 24 megapixels.
pub const MAX_SELECTION_EDGE_PX: u32 = 512;

/// Pixels of context around a selection on each side.
pub const MAX_PADDING_PX: u32 = 4096;

/// How many times larger a crop may become for the model: a tiny selection takes more of its surroundings instead.
pub const MAX_CROP_ENLARGEMENT: u32 = 4;

/// Tiles of one canvas: 8 x 8 of 1024 pixels are 64 megapixels, the largest source.
pub const MAX_TILES: usize = 64;

/// Passes of one generation, tiles times pictures: each takes as long as a picture.
pub const MAX_PASSES: u32 = MAX_TILES as u32;

/// Fewest pixels that neighbouring tiles share when somebody says how many.
pub const MIN_TILE_OVERLAP_PX: u32 = 16;

/// Most pixels that neighbouring tiles share; it is cut to half a tile.
pub const MAX_TILE_OVERLAP_PX: u32 = 512;

/// Bytes of an embedded ICC profile; printers' profiles with large tables have 1 to 3 MiB.
pub const MAX_ICC_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of an ICC profile that stands in a request beside raw pixels; those of printers mostly have half a megabyte.
pub const MAX_INLINE_ICC_BYTES: usize = 1024 * 1024;

/// Bytes of the parameters in a file, in ASCII with JSON's escapes: two prompts of four-byte characters have three times their
/// `MAX_PROMPT_BYTES`, 48 KiB; a segment of a JPEG ends at 64 KiB.
pub const MAX_PARAMETERS_BYTES: usize = 60 * 1024;

/// Characters of a licence in the parameters: longer than any identifier of SPDX.
pub const MAX_PARAMETERS_LICENSE_CHARS: usize = 128;

/// Pixels of a contact sheet's longest edge.
pub const MAX_SHEET_EDGE_PX: u32 = 4096;

const _: () = assert!(MAX_PENDING_PAIRINGS_OF_ONE < MAX_PENDING_PAIRINGS && MAX_BROWSERS < MAX_PAIRED_TOKENS);
const _: () = assert!(MAX_UNSYNCED_EVENTS < MAX_KEPT_EVENTS as u64);
const _: () = assert!(MIN_STORE_QUOTA_BYTES <= DEFAULT_STORE_QUOTA_BYTES);
const _: () = assert!(MAX_INLINE_IMAGE_BYTES + 2 * MAX_PROMPT_BYTES < MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_INLINE_RESULT_BYTES < MAX_MESSAGE_BYTES && MAX_CHUNK_BYTES < MAX_MESSAGE_BYTES);
const _: () =
    assert!(MAX_INLINE_RESULT_BYTES <= MAX_INLINE_ANSWER_BYTES && MAX_INLINE_ANSWER_BYTES < MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_SOURCE_PIXELS * 8 <= MAX_DECODE_BYTES);
const _: () = assert!(MAX_OUTPUT_PIXELS <= MAX_SOURCE_PIXELS);
const _: () = assert!(MAX_BLOB_BYTES <= MAX_BLOB_STORE_BYTES);
const _: () = assert!(MAX_QUEUED_GENERATIONS < ACTOR_MAILBOX);
const _: () = assert!((MAX_NUM_INFERENCE_STEPS + 8) * MAX_NUM_IMAGES + 80 < MAX_KEPT_EVENTS as u32);
const _: () = assert!(MAX_SOURCE_PIXELS * 3 <= MAX_HELD_SOURCE_BYTES);
const _: () = assert!(MAX_EDGE_PX.is_multiple_of(SIZE_MULTIPLE_PX));
const _: () = assert!(MAX_NUM_IMAGES <= MAX_PASSES);
const _: () = assert!(MAX_PADDING_PX < MAX_EDGE_PX && MAX_INLINE_ICC_BYTES <= MAX_ICC_BYTES);
