"""The study on XQuAD: are passages better augmented with queries or with passages, in other languages?

In the order of work: ``settings`` (the YAML file), ``data`` (paragraphs, questions, articles), ``translated`` (a
machine's translations of them), ``vectors`` (encoded once into stage folders), ``sources`` (what is added to a
paragraph, the question that is asked left out), ``scoring`` (ranks for each α), ``folds`` (α chosen on other articles),
``results`` (the table of scores per question), ``statistics``, ``tables`` and ``figures``; ``run`` does it all.
"""
