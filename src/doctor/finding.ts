import { withDisplayUrls } from '../display-url.ts';
import { HoldfastError } from '../errors.ts';
import { quote } from '../quote.ts';

/** What one check of `doctor` found. */
export interface Finding {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly message: string;
  readonly hint?: string | undefined;
}

export function ok(check: string, message: string): Finding {
  return { check, status: 'ok', message: withDisplayUrls(message) };
}

export function warning(check: string, message: string, hint?: string): Finding {
  return { check, status: 'warning', message: withDisplayUrls(message), hint: hint && withDisplayUrls(hint) };
}

export function failed(check: string, message: string, hint?: string): Finding {
  return { check, status: 'failed', message: withDisplayUrls(message), hint: hint && withDisplayUrls(hint) };
}

/** One cause makes many checks fail; its reason and remedy are told once. */
export function failureOf(check: string, error: unknown, before: readonly Finding[]): Finding {
  if (!(error instanceof HoldfastError)) {
    return failed(check, `The check itself failed: ${quote(String(error))}.`);
  }
  const same = before.find(({ message }) => message === error.message);
  return same === undefined
    ? failed(check, error.message, error.hint)
    : failed(check, `Could not be checked; the reason stands above, at ${same.check}.`);
}
