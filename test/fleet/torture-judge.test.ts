import { describe, expect, test } from 'vitest';
import type { Evidence, Final } from '../../bench/torture/evidence.ts';
import type { History } from '../../bench/torture/history.ts';
import type { Mode } from '../../bench/torture/issuer.ts';
import { judge, type Verdict } from '../../bench/torture/judge.ts';
import type { Issued, Presentation } from '../../bench/torture/server.ts';
import type { Operation, Span } from '../../bench/torture/troubles.ts';

/*
 * The judge of the storm (`npm run torture`) gets histories in which a login is lost. It must detect each kind of loss,
 * and excuse one only with evidence of its cause.
 */

/** Time of the first request of each history, in milliseconds. */
const BEGIN = 10_000;
const LIFE_MS = 900;
const WINDOW_MS = 30_000;

interface Told {
  mode?: Mode;
  faults?: number;
  log?: Presentation[];
  histories?: History[];
  spans?: Span[];
  operations?: Operation[];
  absences?: Evidence['absences'];
  stalls?: Evidence['stalls'];
  final?: Partial<Final['stored']> | null;
  live?: string;
  revokedAt?: number;
  loggedOutAt?: number;
  seen?: string[];
  leaks?: string[];
}

/** One login and its history. */
function judged(told: Told): Verdict {
  const {
    log = [],
    histories = [worker('0.1'), worker('1.1')],
    live = 'live',
    revokedAt,
    loggedOutAt,
  } = told;
  const stored = { generation: 1, refreshToken: 'live', loginRequired: false, ...told.final };
  const issued = new Map<string, Issued>();
  for (const { given, family, connectedAt, at } of log) {
    if (given !== undefined)
      issued.set(given.access, { ...given, family, askedAt: connectedAt, until: at + LIFE_MS });
  }
  return judge({
    mode: told.mode ?? 'strict',
    faults: told.faults ?? 1,
    log,
    issued,
    revokedAt: () => revokedAt ?? log.find(({ outcome }) => outcome === 'refused')?.at ?? loggedOutAt,
    loggedOutAt: () => loggedOutAt,
    histories,
    spans: told.spans ?? [],
    logins: [{ family: 0, credential: 0, begunAt: 0, landedAt: 10 }],
    operations: told.operations ?? [],
    absences: told.absences ?? [],
    stalls: told.stalls ?? [],
    lifeMs: LIFE_MS,
    leaseMs: 800,
    windowMs: WINDOW_MS,
    final: [told.final === null ? undefined : { stored, family: 0, live }],
    seen: told.seen ?? [],
    leaks: told.leaks ?? [],
  });
}

function worker(
  tag: string,
  more: Partial<History> & { fate?: Partial<History['incarnation']> } = {},
): History {
  const { fate, ...rest } = more;
  const incarnation = {
    tag,
    worker: Number(tag[0]),
    out: '',
    old: false,
    killedAt: undefined,
    crashed: false,
  };
  return {
    incarnation: { ...incarnation, stops: [], ...fate },
    calls: [],
    stalls: [],
    sent: [],
    ...rest,
  };
}

/** A request with the token `generation/sibling`, which got the tokens `gave` or was refused. */
function presents(
  tag: string,
  [shown, gave]: readonly [string, string | undefined],
  after: number,
  more: Partial<Presentation> = {},
): Presentation {
  const minted = (text: string) => {
    const [generation = 0, sibling = 0] = text.split('/').map(Number);
    return { generation, sibling };
  };
  const connectedAt = BEGIN + after;
  const outcome = gave === undefined ? 'refused' : gave.endsWith('/0') ? 'rotated' : 'repeated';
  return {
    connectedAt,
    receivedAt: connectedAt + 1,
    port: 1000 + after,
    at: connectedAt + 5,
    worker: tag,
    family: 0,
    shown: minted(shown),
    outcome,
    given: gave === undefined ? undefined : { ...minted(gave), access: `access ${gave}` },
    fate: 'whole',
    ...more,
  };
}

/** A call of a worker that got that token some milliseconds after the first request. */
function given(access: string, after: number) {
  return { credential: 0, begin: BEGIN + after - 5, end: BEGIN + after, access };
}

/** A token sent twice to a strict server by two workers, without any fault. */
const TWICE = [presents('0.1', ['0/0', '1/0'], 0), presents('1.1', ['0/0', undefined], 500)];

/** Two answers to one token at a server where the newest counts. The older one is sent. */
const SIBLING = [
  presents('1.1', ['0/0', '1/0'], 100),
  presents('0.1', ['0/0', '1/1'], 0, { receivedAt: BEGIN + 1500, at: BEGIN + 1505 }),
  presents('1.1', ['1/0', undefined], 2000),
];

/** A worker's note of the time and port at which a request left. */
const sent = (after: number, at = after) => ({ sent: BEGIN + at, port: 1000 + after });

describe('a login that could have been saved', () => {
  test('counts a loss as avoidable when a token was sent twice without cause', () => {
    const verdict = judged({ log: TWICE });
    expect(verdict.avoidable).toBe(1);
    expect(verdict.violations.join()).toContain('presented twice without cause');
  });

  test('counts a loss as avoidable when the holder was killed after another process had its answer', () => {
    const killed = worker('0.1', { fate: { killedAt: BEGIN + 300 } });
    const other = worker('1.1', { calls: [given('access 1/0', 200)] });
    expect(judged({ log: TWICE, histories: [killed, other] }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when the engine was down but its holder lived and could write', () => {
    const span: Span = { what: 'engine down', from: BEGIN, to: BEGIN + 400 };
    expect(judged({ log: TWICE, spans: [span] }).avoidable).toBe(1);
  });

  test('excuses a loss when the clock of the engine ended a claim early, and in no other case of a written answer', () => {
    const reader = worker('2.1', { calls: [given('access 1/0', 100)] });
    const lossWith = (clock: Partial<Span>, secondAfter = 500) =>
      judged({
        log: [presents('0.1', ['0/0', '1/0'], 0), presents('1.1', ['0/0', undefined], secondAfter)],
        histories: [worker('0.1'), worker('1.1'), reader],
        spans: [{ what: 'clock set', from: BEGIN - 20, to: BEGIN - 10, byMs: 20_000, ...clock }],
      });
    expect(lossWith({})).toMatchObject({ avoidable: 0, unavoidable: { 'the engine’s clock was set': 1 } });
    expect(lossWith({ byMs: -20_000 }).avoidable).toBe(1);
    expect(lossWith({ from: BEGIN + 50, to: BEGIN + 60 }).avoidable).toBe(1);
    expect(lossWith({}, 1500).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when an older answer replaced a newer one', () => {
    expect(judged({ mode: 'grace', log: SIBLING })).toMatchObject({ avoidable: 1, unavoidable: {} });
    const back: Span = { what: 'clock set', from: BEGIN + 50, to: BEGIN + 51, byMs: -2000 };
    expect(judged({ mode: 'grace', log: SIBLING, spans: [back] }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when a request left after its lease without a check', () => {
    const histories = [worker('0.1', { sent: [sent(0, 1495)] }), worker('1.1', { sent: [sent(100)] })];
    expect(judged({ mode: 'grace', log: SIBLING, histories }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when a window closed although the machine ran all the time', () => {
    const log = [
      presents('0.1', ['0/0', '1/0'], 0, { fate: 'dropped' }),
      presents('1.1', ['0/0', undefined], 31_000, { windowMs: 31_000 }),
    ];
    expect(judged({ mode: 'grace', log }).avoidable).toBe(1);
    // The engine was away for less time than is missing; the two spans overlap.
    const spans: Span[] = [
      { what: 'engine down', from: BEGIN + 100, to: BEGIN + 800 },
      { what: 'partition', from: BEGIN + 100, to: BEGIN + 900 },
      { what: 'partition', worker: 1, from: BEGIN, to: BEGIN + 9000 },
    ];
    expect(judged({ mode: 'grace', log, spans }).avoidable).toBe(1);
    // It stood still for less time than is missing.
    expect(judged({ mode: 'grace', log, stalls: [[BEGIN + 100, BEGIN + 600]] }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when a failover lost a write that a live process did not repeat', () => {
    const span: Span = { what: 'fail-over', from: BEGIN, to: BEGIN + 300 };
    const log = [presents('0.1', ['0/0', '1/0'], 0), presents('1.1', ['0/0', undefined], 2500)];
    const histories = [worker('0.1', { calls: [given('access 1/0', 10)] }), worker('1.1')];
    expect(judged({ log, histories, spans: [span] }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when a failover came long after the answer could be written', () => {
    const span: Span = { what: 'fail-over', from: BEGIN + 400, to: BEGIN + 450 };
    expect(judged({ log: TWICE, spans: [span] }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable when a credential needs a login while its family is alive', () => {
    expect(judged({ final: { loginRequired: true } }).avoidable).toBe(1);
  });

  test('counts a loss as avoidable in a run of two builds when only workers of this build sent the token', () => {
    const old = worker('1.1', { fate: { old: true } });
    const log = [presents('0.1', ['3/0', '4/0'], 0), presents('0.1', ['3/0', undefined], 500)];
    const earlier = presents('1.1', ['1/0', '2/0'], -3000);
    expect(judged({ log: [earlier, ...log], histories: [worker('0.1'), old] })).toMatchObject({
      avoidable: 1,
      ofOldBuild: 0,
    });
  });
});

describe('a loss that no client can prevent', () => {
  const cases: readonly (readonly [cause: string, told: Told])[] = [
    [
      'its answer was lost on the way',
      {
        log: [
          presents('0.1', ['0/0', '1/0'], 0, { fate: 'dropped' }),
          presents('1.1', ['0/0', undefined], 500),
        ],
      },
    ],
    [
      'its holder was killed',
      { log: TWICE, histories: [worker('0.1', { fate: { killedAt: BEGIN + 2 } }), worker('1.1')] },
    ],
    [
      'its holder was stopped',
      {
        log: TWICE,
        histories: [
          worker('0.1', { fate: { stops: [{ from: BEGIN + 2, to: BEGIN + 900 }] } }),
          worker('1.1'),
        ],
      },
    ],
    [
      'the engine’s clock was set',
      { log: TWICE, spans: [{ what: 'clock set', from: BEGIN - 100, to: BEGIN - 90 }] },
    ],
    [
      'the engine’s clock was set',
      {
        mode: 'grace',
        log: SIBLING,
        spans: [{ what: 'clock set', from: BEGIN + 50, to: BEGIN + 51, byMs: 2000 }],
      },
    ],
    [
      'a fail-over lost its write',
      { log: TWICE, spans: [{ what: 'fail-over', from: BEGIN, to: BEGIN + 300 }] },
    ],
    [
      'the engine was away: partition',
      { log: TWICE, spans: [{ what: 'partition', worker: 0, from: BEGIN, to: BEGIN + 300 }] },
    ],
    [
      'its holder was starved of CPU',
      { log: TWICE, histories: [worker('0.1', { stalls: [[BEGIN + 2, BEGIN + 700]] }), worker('1.1')] },
    ],
    [
      'a request was held back after its fence',
      {
        mode: 'grace',
        log: SIBLING,
        histories: [worker('0.1', { sent: [sent(0)] }), worker('1.1', { sent: [sent(100)] })],
      },
    ],
    [
      'the window closed while the machine stood still',
      {
        mode: 'grace',
        log: [
          presents('0.1', ['0/0', '1/0'], 0, { fate: 'dropped' }),
          presents('1.1', ['0/0', undefined], 31_000, { windowMs: 31_000 }),
        ],
        stalls: [[BEGIN + 100, BEGIN + 1600]],
      },
    ],
    [
      'the window closed while the engine was away',
      {
        mode: 'grace',
        log: [
          presents('0.1', ['0/0', '1/0'], 0, { fate: 'dropped' }),
          presents('1.1', ['0/0', undefined], 31_000, { windowMs: 31_000 }),
        ],
        spans: [
          { what: 'engine down', from: BEGIN + 100, to: BEGIN + 1000 },
          { what: 'partition', from: BEGIN + 500, to: BEGIN + 1600 },
        ],
      },
    ],
  ];
  test.each(cases)('counts a loss as unavoidable, and names the cause: %s', (cause, told) => {
    expect(judged(told)).toMatchObject({ avoidable: 0, violations: [], unavoidable: { [cause]: 1 } });
  });

  test('counts a loss apart when an older build took part', () => {
    const old = worker('1.1', { fate: { old: true } });
    const verdict = judged({ log: TWICE, histories: [worker('0.1'), old] });
    expect(verdict).toMatchObject({ avoidable: 0, violations: [] });
    expect(verdict.ofOldBuild).toBeGreaterThan(0);
  });

  test('counts no loss after a logout', () => {
    expect(judged({ log: TWICE, loggedOutAt: BEGIN + 200 })).toMatchObject({ avoidable: 0, violations: [] });
  });
});

describe('violations', () => {
  const revoked: Operation = {
    kind: 'logout',
    credential: 0,
    askedAt: BEGIN + 100,
    endedAt: BEGIN + 200,
    tag: '1.1',
    outcome: 'revoked',
  };
  const log = [presents('0.1', ['0/0', '1/0'], 0)];

  test('reports a logout that said “revoked” but left tokens alive, unless their holder is dead', () => {
    expect(judged({ log, operations: [revoked] }).violations.join()).toContain('left it alive');
    const histories = [worker('0.1', { fate: { killedAt: BEGIN + 50 } })];
    const excused = judged({ log, histories, operations: [revoked] });
    expect(excused).toMatchObject({ violations: [], leftAlive: { 'its holder was killed': 1 } });
    expect(judged({ log, operations: [revoked], loggedOutAt: BEGIN + 150 }).violations).toEqual([]);
    const spans: Span[] = [{ what: 'fail-over', from: 5, to: 20 }];
    expect(judged({ log: [], operations: [revoked] }).violations.join()).toContain('left it alive');
    const lost = judged({ log: [], operations: [revoked], spans });
    expect(lost).toMatchObject({ violations: [], leftAlive: { 'a fail-over lost its write': 1 } });
    const failed = { ...revoked, outcome: 'failed' };
    expect(judged({ log, operations: [failed] }).violations).toEqual([]);
  });

  test('a call that was refused though its process had a living token, unless the login had left or the clock was set ahead', () => {
    const refused = { credential: 0, begin: BEGIN + 60, end: BEGIN + 70, error: 'store-unreachable' };
    const histories = [worker('0.1', { calls: [given('access 1/0', 10), refused] })];
    expect(judged({ log, histories }).withheld).toBe(1);
    const absences = [{ credential: 0, from: BEGIN + 20, to: BEGIN + 80 }];
    expect(judged({ log, histories, absences }).withheld).toBe(0);
    const clock = { what: 'wall clock set', from: BEGIN + 30, to: BEGIN + 31, worker: 0 } as const;
    expect(judged({ log, histories, spans: [{ ...clock, byMs: 60_000 }] }).withheld).toBe(0);
    expect(judged({ log, histories, spans: [{ ...clock, byMs: -60_000 }] }).withheld).toBe(1);
    expect(judged({ log, histories, spans: [{ ...clock, byMs: 60_000, worker: 1 }] }).withheld).toBe(1);
  });

  test('reports an expired token that was served, unless the clock had been set back', () => {
    const histories = [worker('1.1', { calls: [given('access 1/0', 2000)] }), worker('0.1')];
    expect(judged({ log, histories }).violations.join()).toContain('had lapsed');
    const spans: Span[] = [{ what: 'clock set', from: BEGIN + 500, to: BEGIN + 510, byMs: -5000 }];
    expect(judged({ log, histories, spans }).violations).toEqual([]);
  });

  test('reports a token that nobody issued', () => {
    const histories = [worker('0.1', { calls: [given('of somebody else', 10)] })];
    expect(judged({ log, histories }).violations.join()).toContain('nobody issued');
  });

  test.each([
    ['nothing stored in the end', { final: null }, 'nothing is stored'],
    ['a login that was moved away and not taken back', { final: { isMoved: true } }, 'nobody took it back'],
    ['a stored token that is not the live one', { live: 'another', log }, 'not the live one'],
    ['what was seen while it ran', { seen: ['it vanished'] }, 'it vanished'],
    ['a token in a file', { leaks: ['/a/file'] }, '/a/file'],
    [
      'a worker that ended by itself',
      { histories: [worker('0.1', { fate: { crashed: true } })] },
      'ended by itself',
    ],
  ] as const)('reports %s', (_, told, words) => {
    expect(judged(told as Told).violations.join()).toContain(words);
  });

  test('reports a run with less than one request for every two faults as starved', () => {
    expect(judged({ log, faults: 2 }).isStarved).toBe(false);
    expect(judged({ log, faults: 3 }).isStarved).toBe(true);
  });
});
