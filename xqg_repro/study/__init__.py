"""The study on XQuAD: is a passage better augmented with queries or with passages in other languages?

The modules in the order of the work: ``settings`` reads the YAML file, ``data`` the paragraphs and questions,
``translated`` their machine translations. ``vectors`` encodes all texts once, and ``sources`` sums what is added to
each paragraph, without the question asked. ``scoring`` ranks for every α, ``folds`` chooses α on other articles,
``reading`` scores answers, and ``results`` has a score for each question. ``statistics``, ``summarise``, ``summary``,
``tables`` and ``figures`` report these, and ``run`` runs everything. ``training_folds`` and ``transfer`` are about
encoders trained on some of the articles.
"""
