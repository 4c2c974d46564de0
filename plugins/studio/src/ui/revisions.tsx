// The tree of revisions, and the variations of the one that is shown.

import type { Revision } from "@easel/sdk";

import type { State, Studio } from "../model.js";
import { Picture } from "./picture.js";

interface Row {
  readonly revision: Revision;
  /** Branches to the left of it. */
  readonly depth: number;
}

/** The tree as rows: a first child goes on in its parent's column, further ones are branches. */
export function rows(revisions: readonly Revision[]): Row[] {
  const children = new Map<string, Revision[]>();
  const known = new Set(revisions.map(({ id }) => id));
  for (const revision of revisions) {
    const parent = known.has(revision.parentRevisionId) ? revision.parentRevisionId : "";
    children.set(parent, [...(children.get(parent) ?? []), revision]);
  }
  const all: Row[] = [];
  const waiting: Row[] = (children.get("") ?? []).map((revision) => ({ revision, depth: 0 })).reverse();
  for (let row = waiting.pop(); row !== undefined; row = waiting.pop()) {
    all.push(row);
    const { depth, revision } = row;
    const next = (children.get(revision.id) ?? []).map((child, at) => ({ revision: child, depth: depth + Math.min(at, 1) }));
    waiting.push(...next.reverse());
  }
  return all;
}

function title(revision: Revision): string {
  return revision.spec?.prompt || "the picture at the beginning";
}

export function Revisions({ studio, state }: { studio: Studio; state: State }) {
  const head = studio.head();
  const variations = state.revisions.filter(
    ({ generationId }) => generationId !== "" && generationId === head?.generationId,
  );
  return (
    <>
      {variations.length > 1 && (
        <section class="card" aria-label="Variations">
          <h2>Variations</h2>
          <ul class="grid">
            {variations.map((revision) => (
              <li key={revision.id}>
                <button
                  type="button"
                  aria-pressed={revision.id === head?.id}
                  aria-label={`Variation ${revision.imageIndex + 1}`}
                  onClick={() => void studio.goTo(revision.id)}
                >
                  <Picture studio={studio} image={revision.image} alt="" />
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section class="card" aria-label="Revisions">
        <h2>Revisions</h2>
        <ol class="tree">
          {rows(state.revisions).map(({ revision, depth }) => (
            <li key={revision.id} style={{ marginInlineStart: `${Math.min(depth, 6) * 14}px` }}>
              <button
                type="button"
                class="quiet"
                aria-current={revision.id === head?.id ? "true" : undefined}
                onClick={() => void studio.goTo(revision.id)}
              >
                <Picture studio={studio} image={revision.image} alt="" />
                <span>
                  {title(revision)}
                  {revision.resolved !== undefined && <small>seed {String(revision.spec?.seed ?? revision.resolved.seed)}</small>}
                </span>
              </button>
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}
