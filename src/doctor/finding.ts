import { withDisplayUrls } from '../display-url.ts';
import { HoldfastError } from '../errors.ts';
import { quote } from '../quote.ts';

/** One finding of a check of `doctor`. */
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

/** Reports the reason and the fix only once when one cause makes many checks fail. */
export function failureOf(check: string, error: unknown, before: readonly Finding[]): Finding {
  if (!(error instanceof HoldfastError)) {
    return failed(check, `The check itself failed: ${quote(String(error))}.`);
  }
  const same = before.find(({ message }) => message === error.message);
  return same === undefined
    ? failed(check, error.message, error.hint)
    : failed(check, `Could not be checked; the reason stands above, at ${same.check}.`);
}
