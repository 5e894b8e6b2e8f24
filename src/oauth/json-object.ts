/** What a body was found to hold: an object, or why not. */
export type JsonObject =
  | { readonly object: Readonly<Record<string, unknown>>; readonly problem?: never }
  | { readonly object?: never; readonly problem: 'not JSON' | 'JSON, but not an object' };

/** The JSON object in a body. A member that is null counts as absent: many servers write their empty fields so. */
export function jsonObject(body: Uint8Array): JsonObject {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    // JSON.parse quotes its input in the message, so its error is not passed on.
    return { problem: 'not JSON' };
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return { problem: 'JSON, but not an object' };
  }
  return { object: Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null)) };
}
