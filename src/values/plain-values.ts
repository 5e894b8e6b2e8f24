import { isDeepStrictEqual } from 'node:util';

/*
 * Values from files that other programs or people wrote: JSON, TOML, YAML. Their objects have no prototype. A lookup
 * therefore finds only names in the file, and no key can reach `Object.prototype`.
 */

export type PlainObject = Record<string, unknown>;

/** Deeper than any configuration, and shallow enough for every recursive reader. */
const MAX_DEPTH = 200;
/**
 * In characters. Configuration by hand has some kilobytes. A text of 256 KiB can block the TOML parser for a second.
 */
const MAX_LENGTH = 256 * 1024;
const FORBIDDEN: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * The file's syntax is valid, but its values look like an attack. The message ends a sentence: "FILE was left as it is:
 * …"
 */
export class HostileValuesError extends Error {}

/**
 * Checks the length before a parser that is slow for long texts reads the text.
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

/**
 * What to do with keys that would reach the prototype of an ordinary object. In our objects they are ordinary names.
 */
export type HostileKeys = 'refused' | 'kept';

/**
 * Reads JSON.
 *
 * @throws SyntaxError, which quotes the input
 * @throws HostileValuesError
 */
export function parsePlainJson(text: string, keys: HostileKeys = 'refused'): unknown {
  return plainCopy(JSON.parse(text), keys);
}

/**
 * Copies objects (including `Map`s), lists and values. A value that occurs twice, such as a YAML alias, is copied once.
 * A value that contains itself is refused, because readers would follow it without end.
 *
 * @throws HostileValuesError
 */
export function plainCopy(value: unknown, keys: HostileKeys = 'refused'): unknown {
  return copied(value, keys, new Map(), 0);
}

/** Whether both have equal contents, whatever prototypes their objects have. */
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
  // Marks the value as being copied. Meeting the mark below means that the value contains itself.
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

/** YAML has keys of every type. */
function keyName(key: unknown): string {
  if (typeof key === 'string') return key;
  return key === null ? '' : (JSON.stringify(plainCopy(key)) ?? '');
}
