import { isDeepStrictEqual } from 'node:util';

/*
 * Values out of files that somebody else wrote: JSON, TOML, YAML. Their objects have no prototype, so a name that is looked
 * up in them is either in the file or nowhere, and no key of theirs can reach `Object.prototype`.
 */

export type PlainObject = Record<string, unknown>;

/** Deeper than any configuration, and shallow enough for every recursive reader. */
const MAX_DEPTH = 200;
/** Configuration that a person writes has some kilobytes. Of 256 KiB, the TOML parser can be kept busy for a second. */
const MAX_LENGTH = 256 * 1024;
const FORBIDDEN: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** A file that is written correctly but that nobody means well with. The message ends a sentence: "FILE was left as it is: …" */
export class HostileValuesError extends Error {}

/**
 * Checked before a parser that takes more than a moment for large texts sees one.
 *
 * @throws HostileValuesError
 */
export function checkLength(text: string): void {
  if (text.length > MAX_LENGTH) throw new HostileValuesError(`it has more than ${MAX_LENGTH} characters`);
}

export function plainObject(): PlainObject {
  return Object.create(null) as PlainObject;
}

/** @throws HostileValuesError for a key that would reach the prototype of an ordinary object */
export function checkKey(key: string): void {
  if (FORBIDDEN.has(key))
    throw new HostileValuesError(`it has a key called "${key}", which no program needs`);
}

/** @throws HostileValuesError */
export function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw new HostileValuesError('its values are nested too deeply');
}

/** What becomes of keys that would reach the prototype of an ordinary object. In an object of ours they are names like any. */
export type HostileKeys = 'refused' | 'kept';

/**
 * Reads JSON.
 *
 * @throws SyntaxError, which quotes what was read
 * @throws HostileValuesError
 */
export function parsePlainJson(text: string, keys: HostileKeys = 'refused'): unknown {
  return plainCopy(JSON.parse(text), keys);
}

/**
 * A copy of objects (`Map`s count as such), lists and values. What is there twice, as YAML's aliases make it, is copied once;
 * what contains itself is refused, since every reader would follow it without end.
 *
 * @throws HostileValuesError
 */
export function plainCopy(value: unknown, keys: HostileKeys = 'refused'): unknown {
  return copied(value, keys, new Map(), 0);
}

/** Whether the two hold the same, whatever prototypes their objects have. */
export function sameValues(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(plainCopy(a), plainCopy(b));
}

function copied(value: unknown, keys: HostileKeys, done: Map<object, unknown>, depth: number): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (done.has(value)) {
    const copy = done.get(value);
    if (copy === undefined) throw new HostileValuesError('one of its values contains itself');
    return copy;
  }
  checkDepth(depth);
  // Marks it as being copied: to meet it again below means that it contains itself.
  done.set(value, undefined);
  if (Array.isArray(value)) {
    const list = (value as unknown[]).map((one) => copied(one, keys, done, depth + 1));
    done.set(value, list);
    return list;
  }
  const object = plainObject();
  for (const [key, one] of value instanceof Map ? value : Object.entries(value)) {
    const name = keyName(key);
    if (keys === 'refused') checkKey(name);
    object[name] = copied(one, keys, done, depth + 1);
  }
  done.set(value, object);
  return object;
}

/** YAML has keys of every kind. */
function keyName(key: unknown): string {
  if (typeof key === 'string') return key;
  return key === null ? '' : (JSON.stringify(plainCopy(key)) ?? '');
}
