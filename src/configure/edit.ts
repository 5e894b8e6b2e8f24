import { InvalidArgumentError } from '../errors.ts';
import { shellPath } from '../system/files/storage-error.ts';
import {
  HostileValuesError,
  type PlainObject,
  plainCopy,
  plainObject,
  sameValues,
} from '../values/plain-values.ts';
import {
  type ConfigFormat,
  ConfigSyntaxError,
  type Entry,
  type Slot,
  UnsupportedLayoutError,
} from './config-format.ts';

/*
 * One change of a configuration file. The format makes it, and this file checks it: the new text must parse, and all
 * values outside the one entry must be unchanged.
 */

export type Change =
  | { readonly kind: 'add'; readonly entry: Entry }
  | { readonly kind: 'replace'; readonly entry: Entry }
  | { readonly kind: 'change'; readonly keys: Readonly<Record<string, unknown>> }
  | { readonly kind: 'remove' };

/** The byte order mark, which some Windows editors write first. */
const MARK = '\ufeff';

/**
 * The values in a file.
 *
 * @throws InvalidArgumentError with line and column if the file does not parse
 */
export function valuesOf(format: ConfigFormat, text: string, path: string): unknown {
  return explained(format, path, () => format.parse(bare(text)));
}

/**
 * @returns the new text of the file
 * @throws InvalidArgumentError if the file does not parse, or the edit would change more than the entry
 */
export function edited(format: ConfigFormat, text: string, slot: Slot, change: Change, path: string): string {
  const old = bare(text);
  const before = valuesOf(format, old, path);
  const next = explained(format, path, () => apply(format, old, slot, change));
  let after: unknown;
  try {
    after = format.parse(next);
  } catch (cause) {
    throw byHand(path, 'its layout is one that Holdfast cannot edit', cause);
  }
  if (!sameValues(pruned(after, slot.holder), pruned(expected(before, slot, change), slot.holder))) {
    throw byHand(path, 'more than the entry would change');
  }
  return text.startsWith(MARK) ? MARK + next : next;
}

function apply(format: ConfigFormat, text: string, slot: Slot, change: Change): string {
  switch (change.kind) {
    case 'add':
      return format.add(text, slot, change.entry);
    case 'replace':
      return format.add(format.remove(text, slot), slot, change.entry);
    case 'change':
      return format.change(text, slot, change.keys);
    case 'remove':
      return format.remove(text, slot);
  }
}

/** The values that the file must have after the change. */
function expected(before: unknown, { holder, key }: Slot, change: Change): unknown {
  const values = plainCopy(before ?? {}) as PlainObject;
  let at = values;
  for (const [depth, name] of holder.entries()) {
    // A missing list is created with the entry as its first item.
    if (!Object.hasOwn(at, name) || at[name] === null) {
      at[name] = typeof key === 'number' && depth === holder.length - 1 ? [] : plainObject();
    }
    at = at[name] as PlainObject;
  }
  if (Array.isArray(at)) {
    const entry = entryAfter(at[Number(key)], change);
    if (change.kind === 'add') at.push(entry);
    else at.splice(Number(key), 1);
    if (change.kind === 'replace') at.push(entry);
    if (change.kind === 'change') at.splice(Number(key), 0, entry);
    return values;
  }
  if (change.kind === 'remove') delete at[key];
  else at[key] = entryAfter(at[key], change);
  return values;
}

function entryAfter(before: unknown, change: Change): unknown {
  if (change.kind === 'remove') return undefined;
  if (change.kind !== 'change') return change.entry;
  const entry = { ...(before as Entry), ...change.keys };
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined));
}

/** The values without empty holders: clients do not distinguish an empty holder from a missing one. */
function pruned(values: unknown, holder: readonly string[]): unknown {
  const [name, ...rest] = holder;
  if (typeof values !== 'object' || values === null || name === undefined) return values;
  const copy = Object.assign(plainObject(), values);
  if (!Object.hasOwn(copy, name)) return copy;
  const inner = pruned(copy[name], rest);
  if (inner === null || (typeof inner === 'object' && Object.keys(inner).length === 0)) delete copy[name];
  else copy[name] = inner;
  return copy;
}

function bare(text: string): string {
  return text.startsWith(MARK) ? text.slice(MARK.length) : text;
}

function explained<T>(format: ConfigFormat, path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof ConfigSyntaxError) {
      throw new InvalidArgumentError(
        `${shellPath(path)} is not ${format.name}: line ${error.line}, column ${error.column}. Nothing was touched.`,
        { cause: error, hint: 'Mend it there, or print the entry: add --print' },
      );
    }
    if (error instanceof HostileValuesError) {
      throw new InvalidArgumentError(`${shellPath(path)} was left as it is: ${error.message}.`, {
        cause: error,
        hint: 'See who wrote it, or print the entry: add --print',
      });
    }
    if (error instanceof UnsupportedLayoutError) throw byHand(path, error.message, error);
    throw error;
  }
}

function byHand(path: string, why: string, cause?: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`${shellPath(path)} was left as it is: ${why}.`, {
    cause,
    hint: 'Print the entry and put it in by hand: add --print',
  });
}
