import { MessageLoop } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { IGrant } from '../grant';
import { GrantsList, GrantsStatus } from '../status';
import { IGrants, IProblem } from '../tokens';

const NOW = Date.parse('2026-11-22T10:00:00.000Z');

class FakeGrants implements IGrants {
  grants: IGrant[] = [];
  problem: IProblem | null = null;
  readonly changed = new Signal<this, void>(this);
  readonly ending = new Signal<this, IGrant>(this);
  readonly isDisposed = false;
  now = () => NOW;
  refresh = () => Promise.resolve();
  dispose = () => undefined;
}

function grant(minutesLeft: number, name = 'dataset/digits'): IGrant {
  return {
    id: `grant_${name}`,
    state: 'active',
    artifacts: [name],
    reason: 'Ablation 12',
    approvers: ['approver'],
    breakGlass: false,
    reviewBy: [],
    endsAt: new Date(NOW + minutesLeft * 60_000).toISOString(),
    warnAt: new Date(NOW + (minutesLeft - 6) * 60_000).toISOString(),
    pendingUntil: null
  };
}

async function drawn(widget: GrantsStatus | GrantsList): Promise<HTMLElement> {
  MessageLoop.flush();
  await widget.renderPromise;
  // React 18 renders after a task of its own.
  await new Promise(resolve => setTimeout(resolve, 20));
  return widget.node;
}

describe('the status item', () => {
  let model: FakeGrants;
  let item: GrantsStatus;

  beforeEach(() => {
    model = new FakeGrants();
    item = new GrantsStatus(model);
    Widget.attach(item, document.body);
  });

  afterEach(() => {
    item.dispose();
  });

  it('says when there are none', async () => {
    expect((await drawn(item)).textContent).toBe('no grants');
  });

  it('counts down and warns', async () => {
    model.grants = [grant(30)];
    model.changed.emit();
    let node = await drawn(item);
    expect(node.textContent).toBe('grant 30:00');
    expect(node.querySelector('[data-level="quiet"]')).not.toBeNull();
    model.grants = [grant(1)];
    model.changed.emit();
    node = await drawn(item);
    expect(node.querySelector('[data-level="warn"]')).not.toBeNull();
  });

  it('says that the broker is away, and what to do', async () => {
    model.problem = { code: 'x', what: 'No broker.', next: 'aisec doctor' };
    model.changed.emit();
    const node = await drawn(item);
    expect(node.textContent).toContain('broker away');
    expect(node.querySelector('[title*="aisec doctor"]')).not.toBeNull();
  });

  it.each(['click', 'Enter', ' '])('opens the list on %p', async how => {
    model.grants = [grant(30)];
    model.changed.emit();
    const button = (await drawn(item)).querySelector('[role="button"]');
    const event =
      how === 'click'
        ? new MouseEvent('click', { bubbles: true })
        : new KeyboardEvent('keydown', { key: how, bubbles: true });
    button?.dispatchEvent(event);
    MessageLoop.flush();
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(
      document.querySelector('.jp-AisecGrants-list')?.textContent
    ).toContain('active, 30:00 left');
  });

  it('stays shut for other keys, and takes the list along when disposed', async () => {
    const button = (await drawn(item)).querySelector('[role="button"]');
    button?.dispatchEvent(
      new KeyboardEvent('keydown', { key: 'a', bubbles: true })
    );
    expect(document.querySelector('.jp-AisecGrants-list')).toBeNull();
    button?.dispatchEvent(new MouseEvent('click', { bubbles: true }));
    item.dispose();
    item.dispose();
    expect(document.querySelector('.jp-AisecGrants-list')).toBeNull();
    expect(() => model.changed.emit()).not.toThrow();
  });
});

describe('the list', () => {
  it.each([
    ['help when there are none', null, '%grant request'],
    [
      'the problem',
      { code: 'x', what: 'No broker.', next: 'aisec doctor' },
      'aisec doctor'
    ]
  ])('shows %s', async (_name, problem, expected) => {
    const model = new FakeGrants();
    model.problem = problem;
    const list = new GrantsList(model);
    Widget.attach(list, document.body);
    expect((await drawn(list)).textContent).toContain(expected);
    list.dispose();
  });

  it('shows foreign text as text', async () => {
    const model = new FakeGrants();
    model.grants = [grant(30, 'dataset/<img src=x onerror=alert(1)>')];
    const list = new GrantsList(model);
    Widget.attach(list, document.body);
    const node = await drawn(list);
    expect(node.querySelector('img')).toBeNull();
    expect(node.textContent).toContain('<img');
    list.dispose();
  });
});
