/* Why a picture has its score: the likeliest phrases for its embedding x, as in `rali.scoring.phrases`.
 *
 *     P(phrase) = softmax(vectors · x + offsets),  P(meaning) = Σ P(its phrases)
 */

/** The table of model.json with its arrays decoded. */
export function openPhrases(table) {
  return { ...table, vectors: floats(table.vectors), offsets: floats(table.offsets) };
}

/** The `top` likeliest meanings, each by its likeliest phrase: [{phrase, probability}]. */
export function explain(phrases, embedding, top = 3) {
  const chances = probabilities(phrases, embedding);
  const byMeaning = new Map();
  chances.forEach((chance, place) => {
    const meaning = phrases.meanings[place];
    const { total, most, phrase } = byMeaning.get(meaning) ?? { total: 0, most: -1 };
    byMeaning.set(meaning, {
      total: total + chance,
      most: Math.max(most, chance),
      phrase: chance > most ? phrases.texts[place] : phrase,
    });
  });
  return [...byMeaning.values()]
    .sort((one, other) => other.total - one.total)
    .slice(0, top)
    .map(({ total, phrase }) => ({ phrase, probability: total }));
}

function probabilities({ vectors, offsets }, embedding) {
  const width = embedding.length;
  const logits = Array.from(offsets, (offset, phrase) =>
    embedding.reduce((sum, x, place) => sum + x * vectors[phrase * width + place], offset),
  );
  const largest = Math.max(...logits);
  const raised = logits.map((logit) => Math.exp(logit - largest));
  const total = raised.reduce((sum, each) => sum + each, 0);
  return raised.map((each) => each / total);
}

function floats(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (each) => each.charCodeAt(0)).buffer);
}
