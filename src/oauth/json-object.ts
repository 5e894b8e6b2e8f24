/** The content of a body: an object, or the reason why it is not one. */
export type JsonObject =
  | { readonly object: Readonly<Record<string, unknown>>; readonly problem?: never }
  | { readonly object?: never; readonly problem: 'not JSON' | 'JSON, but not an object' };

/** Reads the JSON object in a body. A null member counts as absent: many servers write empty fields as null. */
export function jsonObject(body: Uint8Array): JsonObject {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    // JSON.parse quotes its input in the message, so do not pass on its error.
    return { problem: 'not JSON' };
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return { problem: 'JSON, but not an object' };
  }
  return { object: Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null)) };
}
