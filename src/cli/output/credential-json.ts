import type { CredentialSummary } from '../../login/types.ts';
import { isoTime } from './words.ts';

/** A credential as every command prints it with `--json`: times in ISO 8601, no secrets. */
export function credentialJson(one: CredentialSummary): Record<string, unknown> {
  return {
    ...one,
    expiresAt: isoTime(one.expiresAt),
    loggedInAt: isoTime(one.loggedInAt),
    since: isoTime(one.since),
  };
}
