import { Secret } from '../secret.ts';

/*
 * Members of a record that this Holdfast does not know. A newer one on the same store has added them, and needs them
 * after this one has refreshed. They may contain secrets, so they are stored as a Secret.
 */

/** The path of a member, and its value. */
type Member = readonly [path: readonly string[], value: unknown];

/** The members of `json` that `known`, the parsed form of it, does not have; `undefined` if there are none. */
export function unknownMembers(json: unknown, known: unknown): Secret | undefined {
  const found = missing(json, known, []);
  return found.length === 0 ? undefined : new Secret(JSON.stringify(found));
}

/** Adds those members to `plain`, each only if its parent object still exists. */
export function withUnknownMembers(plain: object, members: Secret | undefined): object {
  if (members === undefined) return plain;
  const whole = { ...plain } as Record<string, unknown>;
  for (const [path, value] of JSON.parse(members.reveal()) as Member[]) add(whole, path, value);
  return whole;
}

function missing(json: unknown, known: unknown, path: readonly string[]): Member[] {
  if (!isObject(json) || !isObject(known)) return [];
  return Object.entries(json).flatMap(([name, value]): Member[] => {
    // Assigning it would set the prototype instead of adding a member.
    if (name === '__proto__') return [];
    const at = [...path, name];
    return Object.hasOwn(known, name) ? missing(value, known[name], at) : [[at, value]];
  });
}

function add(whole: Record<string, unknown>, [name, ...rest]: readonly string[], value: unknown): void {
  if (name === undefined) return;
  const there = Object.hasOwn(whole, name) ? whole[name] : undefined;
  if (rest.length === 0) {
    if (there === undefined) whole[name] = value;
    return;
  }
  if (!isObject(there)) return;
  const copy = { ...there };
  add(copy, rest, value);
  whole[name] = copy;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Secret);
}
