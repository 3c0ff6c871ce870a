import { IOutput } from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import {
  OutputModel,
  RenderMimeRegistry,
  standardRendererFactories
} from '@jupyterlab/rendermime';
import { JSONObject } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';

import { OpeningError, SEALED_TYPE } from '../opening';
import { SealedOutput, SealedOutputs } from '../sealed';

const BUNDLE: JSONObject = {
  header: {
    keys: [{ artifact: 'weights/<b>x' }, { artifact: 'dataset/digits' }]
  },
  ciphertext: 'AAAA'
};
const SAVED = {
  output_type: 'display_data',
  data: { [SEALED_TYPE]: BUNDLE, 'text/plain': 'Sealed output' },
  metadata: {}
};
const STREAM: IOutput = {
  output_type: 'stream',
  name: 'stdout',
  text: 'patient 4711'
};

function registry(): RenderMimeRegistry {
  return new RenderMimeRegistry({
    initialFactories: standardRendererFactories
  });
}

describe('a sealed output', () => {
  let model: OutputModel;
  let widget: SealedOutput;
  let opened: JSONObject[];
  let answer: () => Promise<IOutput>;

  beforeEach(async () => {
    opened = [];
    answer = () => Promise.resolve(STREAM);
    model = new OutputModel({ value: SAVED, trusted: false });
    widget = new SealedOutput({
      rendermime: registry(),
      open: sealed => {
        opened.push(sealed);
        return answer();
      }
    });
    await widget.renderModel(model);
    Widget.attach(widget, document.body);
  });

  afterEach(() => {
    widget.dispose();
    widget.dispose();
    expect(document.body.childElementCount).toBe(0);
  });

  const button = () => widget.node.querySelector('button') as HTMLButtonElement;
  const problem = () =>
    widget.node.querySelector('[role="alert"]') as HTMLElement;

  it('says what it was made from, as text', () => {
    expect(widget.node.textContent).toBe(
      'Sealed output, made from dataset/digits, weights/<b>xShow'
    );
    expect(widget.node.querySelector('b')).toBeNull();
    expect(button().getAttribute('aria-expanded')).toBe('false');
    expect(opened).toEqual([]);
  });

  it('shows it on a click and hides it on the next', async () => {
    button().click();
    expect(button().disabled).toBe(true);
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(opened).toEqual([BUNDLE]);
    expect(widget.node.textContent).toContain('patient 4711');
    expect(button().textContent).toBe('Hide');
    expect(button().getAttribute('aria-expanded')).toBe('true');
    button().click();
    expect(widget.node.textContent).not.toContain('4711');
    expect(button().textContent).toBe('Show');
  });

  it('leaves the model of the notebook as it is', async () => {
    const before = JSON.stringify(model.toJSON());
    let changes = 0;
    model.changed.connect(() => changes++);
    await widget.open();
    expect(widget.node.textContent).toContain('patient 4711');
    expect(JSON.stringify(model.toJSON())).toBe(before);
    expect(before).toBe(JSON.stringify(SAVED));
    expect(changes).toBe(0);
  });

  it.each([
    ['error', { ename: 'E', evalue: 'e', traceback: ['at 4711'] }, 'at 4711'],
    [
      'execute_result',
      { data: { 'text/plain': '4711' }, metadata: {}, execution_count: 1 },
      '4711'
    ]
  ])('shows what was a %s', async (output_type, more, text) => {
    answer = () => Promise.resolve({ output_type, ...more } as IOutput);
    await widget.open();
    expect(widget.node.textContent).toContain(text);
  });

  it('trusts nothing of what comes out', async () => {
    const data = {
      'text/html':
        '<i>4711</i><img src="x" onerror="alert(1)"><script>alert(1)</script>',
      'application/javascript': 'alert(1)'
    };
    answer = () =>
      Promise.resolve({ output_type: 'display_data', data, metadata: {} });
    await widget.open();
    expect(widget.node.querySelector('i')?.textContent).toBe('4711');
    expect(widget.node.querySelector('script')).toBeNull();
    expect(widget.node.querySelector('[onerror]')).toBeNull();
  });

  it('says so where nothing of it is harmless', async () => {
    const data = { 'application/javascript': 'alert(1)' };
    answer = () =>
      Promise.resolve({ output_type: 'display_data', data, metadata: {} });
    await widget.open();
    expect(problem().dataset.code).toBe('output-not-shown');
    expect(button().textContent).toBe('Show');
  });

  it('says why it is not opened, and what to do', async () => {
    answer = () =>
      Promise.reject(
        new OpeningError('No <b>grant.', 'Ask: `%grant request x`', 'c')
      );
    await widget.open();
    expect(problem().textContent).toBe('No <b>grant.Ask: %grant request x');
    expect(problem().querySelector('code')?.textContent).toBe(
      '%grant request x'
    );
    expect(problem().hidden).toBe(false);
    expect(button().disabled).toBe(false);
    answer = () => Promise.resolve(STREAM);
    await widget.open();
    expect(problem().hidden).toBe(true);
  });

  it('has words for what nobody foresaw', async () => {
    answer = () => Promise.reject(new Error('4711'));
    await widget.open();
    expect(problem().textContent).toContain('could not be shown');
    expect(problem().textContent).not.toContain('4711');
  });

  it.each([
    ['replaced', (one: SealedOutput) => one.renderModel(modelOf({}))],
    ['disposed', (one: SealedOutput) => Promise.resolve(one.dispose())]
  ])('shows no answer that comes after it was %s', async (_name, end) => {
    for (const settle of [
      () => Promise.resolve(STREAM),
      () => Promise.reject(new Error())
    ]) {
      let go = () => undefined as void;
      const waiting = new Promise<void>(resolve => (go = resolve));
      answer = () => waiting.then(settle);
      const opening = widget.open();
      await end(widget);
      go();
      await opening;
      expect(widget.node.textContent).not.toContain('4711');
    }
  });

  it('names nothing where the bundle does not', async () => {
    await widget.renderModel(modelOf({}));
    expect(widget.node.textContent).toBe('Sealed outputShow');
  });
});

function modelOf(bundle: JSONObject): OutputModel {
  const data = { [SEALED_TYPE]: bundle };
  return new OutputModel({ value: { ...SAVED, data }, trusted: true });
}

describe('a notebook', () => {
  it('asks its own kernel, and gives the renderer back', async () => {
    const rendermime = registry();
    const panel = {
      content: { rendermime },
      sessionContext: { session: null }
    } as unknown as NotebookPanel;
    const given = new SealedOutputs().createNew(panel);
    const { data } = new OutputModel({ value: SAVED, trusted: false });
    expect(rendermime.preferredMimeType(data, 'ensure')).toBe(SEALED_TYPE);
    const widget = rendermime.createRenderer(SEALED_TYPE) as SealedOutput;
    await widget.renderModel(modelOf(BUNDLE));
    await widget.open();
    expect(widget.node.textContent).toContain('This notebook has no kernel.');
    widget.dispose();
    given.dispose();
    expect(rendermime.preferredMimeType(data, 'ensure')).toBe('text/plain');
  });
});
