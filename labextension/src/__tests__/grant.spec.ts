import {
  clock,
  describe as words,
  IGrant,
  level,
  live,
  parseGrant,
  remaining,
  summary
} from '../grant';

const START = Date.parse('2026-11-22T10:00:00.000Z');
const MINUTE = 60_000;

function at(minutes: number): string {
  return new Date(START + minutes * MINUTE).toISOString();
}

function grant(changes: Partial<IGrant> = {}): IGrant {
  return {
    id: 'grant_1',
    state: 'active',
    artifacts: ['dataset/digits'],
    reason: 'Ablation 12',
    approvers: ['approver'],
    breakGlass: false,
    reviewBy: [],
    endsAt: at(60),
    warnAt: at(54),
    pendingUntil: null,
    ...changes
  };
}

const pending = grant({
  id: 'grant_2',
  state: 'pending',
  endsAt: null,
  warnAt: null,
  pendingUntil: at(90)
});
const scheduled = grant({
  id: 'grant_3',
  state: 'scheduled',
  endsAt: null,
  warnAt: null
});

describe('parseGrant', () => {
  it('reads the broker’s view', () => {
    expect(
      parseGrant({
        id: 'grant_1',
        state: 'active',
        artifacts: ['dataset/digits'],
        reason: 'Ablation 12',
        approvers: ['approver'],
        ends_at: at(60),
        warn: [at(54), at(58)],
        pending_until: null,
        terms: {}
      })
    ).toEqual(grant());
  });

  it.each([
    ['nothing', null],
    ['a string', 'grant_1'],
    ['no id', { state: 'active' }],
    ['an unknown state', { id: 'grant_1', state: 'eternal' }]
  ])('refuses %s', (_name, value) => {
    expect(parseGrant(value)).toBeNull();
  });

  it('drops fields of the wrong type', () => {
    const read = parseGrant({
      id: 'grant_1',
      state: 'active',
      artifacts: [1, 'weights/a'],
      reason: 7,
      approvers: 'approver',
      ends_at: 'soon',
      warn: ['later', 7]
    });
    expect(read).toMatchObject({
      artifacts: ['weights/a'],
      reason: '',
      approvers: [],
      endsAt: null,
      warnAt: null
    });
  });
});

describe('level', () => {
  it.each([
    ['quiet with half of the time left', 30, 'quiet'],
    ['quiet just before the moment the broker names', 53.9, 'quiet'],
    ['warn from then on', 54, 'warn'],
    ['warn in the last minute', 59, 'warn'],
    ['over at the end', 60, 'over'],
    ['over after it', 61, 'over']
  ])('is %s', (_name, minutes, expected) => {
    expect(level(grant(), START + minutes * MINUTE)).toBe(expected);
  });

  it('never warns where the broker says no time', () => {
    expect(level(grant({ warnAt: null }), START + 59 * MINUTE)).toBe('quiet');
  });

  it('never warns for what has not begun, and ended is over', () => {
    expect(level(pending, START + 89.9 * MINUTE)).toBe('quiet');
    expect(level(scheduled, START)).toBe('quiet');
    expect(level(grant({ state: 'ended' }), START)).toBe('over');
  });
});

describe('remaining', () => {
  it('counts to the end of an active and the lapse of a pending grant', () => {
    expect(remaining(grant(), START)).toBe(60 * MINUTE);
    expect(remaining(pending, START)).toBe(90 * MINUTE);
    expect(remaining(scheduled, START)).toBeNull();
    expect(remaining(grant({ state: 'ended' }), START)).toBeNull();
  });
});

describe('clock', () => {
  it.each([
    [-5, '0:00'],
    [0, '0:00'],
    [1, '0:01'],
    [65_000, '1:05'],
    [3_600_000, '1:00:00'],
    [7_199_001, '2:00:00']
  ])('%d ms is %s', (milliseconds, expected) => {
    expect(clock(milliseconds)).toBe(expected);
  });
});

describe('words', () => {
  it('says the state and what comes next', () => {
    expect(words(grant(), START)).toBe('active, 1:00:00 left');
    expect(words(grant(), START + 60 * MINUTE)).toBe('over');
    expect(words(pending, START)).toBe(
      'waiting for approver, lapses in 1:30:00'
    );
    expect(
      words({ ...pending, approvers: [], pendingUntil: null }, START)
    ).toBe('waiting for an approver');
    expect(words(scheduled, START)).toMatch(/^approved/);
    expect(words(grant({ state: 'ended' }), START)).toBe('ended');
  });

  it('says that the glass was broken, and whose review is owed', () => {
    const owed = { breakGlass: true, reviewBy: ['approver', 'second'] };
    expect(words({ ...grant(), ...owed }, START)).toBe(
      'active, 1:00:00 left; break-glass, review owed by approver, second'
    );
    expect(words({ ...scheduled, ...owed }, START)).toMatch(
      /^ready; .*; break-glass, review owed by approver, second$/
    );
    expect(words(grant({ breakGlass: true }), START)).toMatch(
      /; break-glass, reviewed$/
    );
  });

  it('reads from the answer that the glass was broken', () => {
    const raw = { id: 'grant_1', state: 'active' };
    expect(
      parseGrant({ ...raw, break_glass: true, review_by: ['approver', 7] })
    ).toMatchObject({ breakGlass: true, reviewBy: ['approver'] });
    expect(parseGrant({ ...raw, break_glass: 'yes' })).toMatchObject({
      breakGlass: false,
      reviewBy: []
    });
  });
});

describe('live and summary', () => {
  it('puts the grant that ends first in front and leaves out what is over', () => {
    const sooner = grant({ id: 'grant_0', endsAt: at(30) });
    const twin = grant({ id: 'grant_9' });
    const over = grant({ id: 'grant_4', state: 'ended' });
    const all = [pending, over, twin, scheduled, grant(), sooner];
    expect(live(all, START).map(g => g.id)).toEqual([
      'grant_0',
      'grant_1',
      'grant_9',
      'grant_3',
      'grant_2'
    ]);
    expect(summary(all, START)).toBe('3 grants, 30:00 · 1 ready · 1 waiting');
  });

  it('orders grants without an end last', () => {
    const endless = grant({ id: 'grant_5', endsAt: null });
    expect(live([endless, grant()], START).map(g => g.id)).toEqual([
      'grant_1',
      'grant_5'
    ]);
    expect(summary([endless], START)).toBe('1 active');
  });

  it('is short for one grant and says when there is none', () => {
    expect(summary([grant()], START)).toBe('grant 1:00:00');
    expect(summary([], START)).toBe('no grants');
  });
});
