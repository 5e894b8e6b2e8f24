import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';

/*
 * Checks names of the PostgreSQL store. The schema's name goes into the SQL unquoted, where no parameter is possible.
 */

/** @throws InvalidArgumentError */
export function checkedTenant(name: string): string {
  return checked('tenant', name, /^[\w.:@-]{1,128}$/);
}

/**
 * Checks a plain SQL name, which needs no quotes.
 *
 * @throws InvalidArgumentError
 */
export function checkedSchema(name: string): string {
  return checked('schema', name, /^[a-z][a-z0-9_]{0,39}$/);
}

function checked(what: string, name: string, form: RegExp): string {
  // A caller in JavaScript may pass anything, and an object could yield another name at each use.
  if (typeof name === 'string' && form.test(name)) return name;
  throw new InvalidArgumentError(
    `The ${what} of the PostgreSQL store cannot be ${quote(String(name), 60)}.`,
    {
      hint: `It must match ${form.source}.`,
    },
  );
}
