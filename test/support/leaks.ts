import { inspect } from 'node:util';

/** Everything visible in an error: message, hint, stack, causes and hidden properties. */
function visible(error: unknown): string {
  let text = inspect(error, { depth: 10, showHidden: true, maxStringLength: null, maxArrayLength: null });
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth += 1) {
    text += `\n${at.name} ${at.message} ${at.stack ?? ''} ${JSON.stringify(at, Object.getOwnPropertyNames(at))}`;
  }
  return `${text}\n${everything(error)}`;
}

/**
 * The text of everything reachable from a value by its own properties, non-enumerable ones included, and of all bytes.
 */
function everything(value: unknown, seen = new Set<unknown>()): string {
  if (typeof value === 'string') return `${value}\n`;
  if (typeof value !== 'object' || value === null || seen.has(value)) return '';
  seen.add(value);
  if (ArrayBuffer.isView(value)) {
    return `${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1')}\n`;
  }
  return Reflect.ownKeys(value)
    .map((key) => Object.getOwnPropertyDescriptor(value, key))
    .map((property) => everything(property?.value, seen))
    .join('');
}

/** Counts the secrets visible in an error, plain or encoded. It is a count so that a failing test prints no secret. */
export function secretsSeen(error: unknown, secrets: readonly string[]): number {
  const text = visible(error);
  return secrets.filter((secret) =>
    [
      secret,
      encodeURIComponent(secret),
      new URLSearchParams([['', secret]]).toString().slice(1),
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      Buffer.from(secret).toString('base64url'),
      Buffer.from(secret).toString('hex'),
    ].some((form) => text.includes(form)),
  ).length;
}
