// One call: its signal handed on, its error made an EaselError.

import { toEaselError } from "./error.js";

/** Calls `call` with the options of a call, and throws an {@link EaselError} when it fails. */
export async function ask<T>(call: (options: { signal?: AbortSignal }) => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await call(signal === undefined ? {} : { signal });
  } catch (thrown) {
    throw toEaselError(thrown, signal?.aborted);
  }
}

/** The items of a stream, with the errors of a call. */
export async function* each<T>(stream: AsyncIterable<T>, signal?: AbortSignal): AsyncGenerator<T, undefined> {
  try {
    yield* stream;
  } catch (thrown) {
    throw toEaselError(thrown, signal?.aborted);
  }
  return undefined;
}
