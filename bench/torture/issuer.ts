import { createHash, randomBytes } from 'node:crypto';
import { sharedNow } from './shared-clock.ts';

/*
 * What an authorization server makes of refresh tokens: five kinds, as they exist in the field (docs/fleet.md).
 */

export const MODES = ['strict', 'grace', 'replay', 'successor-used', 'oidc'] as const;
export type Mode = (typeof MODES)[number];

/** Whether a replay ends the login, so that no client can save one whose answer died with its holder. */
export function isStrict(mode: Mode): boolean {
  return mode === 'strict' || mode === 'oidc';
}

/** Which refresh token: minted by which rotation of its family, and the how-manyth that this rotation gave. */
export interface Minted {
  readonly generation: number;
  readonly sibling: number;
}

export interface Answer {
  readonly family: number;
  readonly shown: Minted;
  readonly outcome: 'rotated' | 'repeated' | 'refused';
  /** Of a refusal because the window was over: how long ago it had opened, in milliseconds. */
  readonly windowMs?: number | undefined;
  readonly given?: (Minted & { readonly accessToken: string; readonly refreshToken: string }) | undefined;
}

export interface Issuer {
  /** A new login; its number and its first tokens. */
  begin(resource: string): Promise<{ readonly family: number; readonly refreshToken: string }>;
  /** Shows a refresh token. `undefined` for one that was never given. */
  present(refreshToken: string): Promise<Answer | undefined>;
  /** An access token of that family was used at the resource. */
  used(family: number, minted: Minted): void;
  /** The refresh token that is good now. */
  live(family: number): string;
  /** When its login was ended, by a logout or by a refusal, in milliseconds by the shared clock. */
  revokedAt(family: number): number | undefined;
  /** RFC 7009, as strictly as servers do it: a refresh token that is not good any more ends nothing. */
  revoke(refreshToken: string): void;
  /** When a logout ended it. */
  loggedOutAt(family: number): number | undefined;
  /** Which login a refresh token is of. */
  familyOf(refreshToken: string): number | undefined;
  close(): Promise<void>;
}

/** Tells tokens apart without showing them. */
export function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 16);
}

interface Family {
  readonly number: number;
  current: Minted & { readonly token: string };
  parent?: (Minted & { readonly token: string }) | undefined;
  rotatedAt: number;
  /** The newest tokens have been used, which tells that their holder has them. */
  used: boolean;
  revokedAt?: number;
  loggedOutAt?: number;
}

/** The four kinds that this harness has of its own. */
export class OwnIssuer implements Issuer {
  readonly #mode: Exclude<Mode, 'oidc'>;
  readonly #windowMs: number;
  /** In every token, so that one is found wherever it should not be. */
  readonly #canary: string;
  readonly #families: Family[] = [];

  constructor(mode: Exclude<Mode, 'oidc'>, canary: string, windowMs: number) {
    this.#mode = mode;
    this.#canary = canary;
    this.#windowMs = windowMs;
  }

  async begin() {
    const number = this.#families.length;
    const first = { generation: 0, sibling: 0 };
    const current = { ...first, token: this.#token(number, first) };
    this.#families.push({ number, current, rotatedAt: sharedNow(), used: true });
    return { family: number, refreshToken: current.token };
  }

  async present(refreshToken: string): Promise<Answer | undefined> {
    const [canary, number, generation, sibling] = refreshToken.split('.');
    const family = canary === this.#canary ? this.#families[Number(number)] : undefined;
    if (family === undefined) return undefined;
    const shown = { generation: Number(generation), sibling: Number(sibling) };
    const answer = { family: family.number, shown };
    if (family.revokedAt !== undefined) return { ...answer, outcome: 'refused' };
    if (refreshToken === family.current.token) {
      family.parent = family.current;
      this.#mint(family, { generation: shown.generation + 1, sibling: 0 });
      return { ...answer, outcome: 'rotated', given: this.#given(family) };
    }
    if (refreshToken === family.parent?.token && this.#repeats(family)) {
      const { generation: same, sibling: last } = family.current;
      if (this.#mode !== 'replay') this.#mint(family, { generation: same, sibling: last + 1 });
      return { ...answer, outcome: 'repeated', given: this.#given(family) };
    }
    family.revokedAt = sharedNow();
    const late = refreshToken === family.parent?.token && !isStrict(this.#mode);
    return {
      ...answer,
      outcome: 'refused',
      windowMs: late ? family.revokedAt - family.rotatedAt : undefined,
    };
  }

  used(number: number, { generation, sibling }: Minted): void {
    const family = this.#families[number];
    if (family?.current.generation === generation && family.current.sibling === sibling) family.used = true;
  }

  live(family: number): string {
    return this.#families[family]?.current.token ?? '';
  }

  revokedAt(family: number): number | undefined {
    return this.#families[family]?.revokedAt;
  }

  revoke(refreshToken: string): void {
    const family = this.#families[this.familyOf(refreshToken) ?? -1];
    if (family === undefined || family.revokedAt !== undefined) return;
    const isGood =
      refreshToken === family.current.token ||
      (refreshToken === family.parent?.token && this.#repeats(family));
    if (!isGood) return;
    family.revokedAt = sharedNow();
    family.loggedOutAt = family.revokedAt;
  }

  loggedOutAt(family: number): number | undefined {
    return this.#families[family]?.loggedOutAt;
  }

  familyOf(refreshToken: string): number | undefined {
    const [canary, number] = refreshToken.split('.');
    return canary === this.#canary && this.#families[Number(number)] !== undefined
      ? Number(number)
      : undefined;
  }

  async close(): Promise<void> {}

  #repeats(family: Family): boolean {
    if (this.#mode === 'strict') return false;
    return this.#mode === 'successor-used' ? !family.used : sharedNow() - family.rotatedAt <= this.#windowMs;
  }

  #mint(family: Family, minted: Minted): void {
    family.current = { ...minted, token: this.#token(family.number, minted) };
    // A window runs from the first answer, or a client that asks again and again would keep it open.
    if (minted.sibling === 0) family.rotatedAt = sharedNow();
    family.used = false;
  }

  #given({ number, current: { generation, sibling, token } }: Family) {
    const accessToken = `${this.#canary}.a.${number}.${randomBytes(16).toString('hex')}`;
    return { generation, sibling, refreshToken: token, accessToken };
  }

  #token(family: number, { generation, sibling }: Minted): string {
    return `${this.#canary}.${family}.${generation}.${sibling}.${randomBytes(16).toString('hex')}`;
  }
}
