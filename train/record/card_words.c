/* card_words.c - the sentences of the card in English and in French. */
#include "train/record/card_words.h"

/* Both tables have every member of the struct: a member that is left out would be NULL and print as
 * nothing.  Parts of a sentence keep their blanks: where a value goes differs between the languages. */
static const struct card_words ENGLISH = {
    .thousands = ",",
    .decimal = ".",
    .colon = ": ",
    .blank = "**[To complete]** ",
    .unknown = "not known",
    .yaml_licence_of_base = "the base model's; to be checked against the training data's",
    .yaml_licence_unknown = "license: to complete",
    .yaml_name_of_folder = "name of its folder; to complete: ORGANISATION/NAME",
    .yaml_language = "to be checked",
    .written_by = "Written by ",
    .written_by_end = " from provenance.json.  Complete what is marked [To complete].",
    .title_from_base = "Model trained from ",
    .title_new = "Language model",
    .what_title = "What this model is",
    .data_title = "Training data",
    .earlier_title = "Earlier training, in the base model",
    .procedure_title = "Training procedure",
    .cost_title = "Compute, energy, CO2",
    .limits_title = "Uses, limitations and risks",
    .what_new = "A language model trained from random weights.",
    .what_from_base = "A language model trained further from a base model.",
    .what_adapter =
        "An adapter: low-rank pairs (LoRA) trained beside the matrices of a base model, which is needed to use it.",
    .what_merged =
        "A base model with an adapter, low-rank pairs (LoRA) trained beside its matrices, merged into them.",
    .adapter_parameters = "Parameters of the pairs",
    .adapter_rank = "Rank of the pairs",
    .adapter_base = "Matrices of the base while it was trained",
    .use_title = "Use",
    .use_adapter =
        "- vLLM: `vllm serve BASE --enable-lora --lora-modules NAME=FOLDER`, with `--max-lora-rank` where the rank is above 16\n"
        "- transformers and peft: `PeftModel.from_pretrained(base, FOLDER)`\n"
        "- llama.cpp: `--lora FILE.gguf` beside the GGUF file of the base; Ollama: a Modelfile with `FROM BASE.gguf` and "
        "`ADAPTER FILE.gguf`. `atelier export FOLDER --to gguf-lora` writes the file, `--to hf` and `--to gguf` a merged model.\n",
    .use_adapter_merged =
        "- transformers and peft: `PeftModel.from_pretrained(base, FOLDER)`\n"
        "- vLLM, llama.cpp and Ollama do not take such an adapter, but the merged model: `atelier export FOLDER --to hf`, "
        "`--to gguf`.\n",
    .adapter_whole = "Trained whole beside the pairs",
    .parameters = "Parameters",
    .wrapper = "Text decoder alone; all other tensors are those of the base, of",
    .added_tokens = "Tokens added to the vocabulary",
    .numbers = "numbers",
    .base_model = "Base model",
    .base_licence = "Licence of the base model, as it states it",
    .base_hash = "SHA-256 of the base model's weights",
    .base_hash_how = "of one file its own, of several `sha256sum *.safetensors | sha256sum`",
    .base_hash_unknown = "not recorded: the run began with a version that kept no provenance",
    .trained = "Dates of the training",
    .progress = "Step",
    .of_steps = " of ",
    .not_finished = "**The training was not finished when this was written.**",
    .diverged = "The training failed: its loss is out of bounds since step ",
    .had_diverged = "The training had diverged and came back: its loss was out of bounds from step ",
    .to_step = " to step ",
    .learnt_nothing = "Nothing was learnt: all gradients are exactly zero since step ",
    .no_update = "Nothing was learnt: no step made an update.",
    .program = "Program",
    .blank_purpose = "What the model is for, who made it, whom to ask.",
    .data_head = "| Corpus | Licence | Origin | Documents | Tokens | Tokens consumed | Share |",
    .data_explained =
        "Tokens consumed are those that the model was really trained on up to this step, repetitions "
        "counted each time, padding not at all.  Documents and tokens are those of the prepared files.",
    .not_attributed = "*not counted by corpus (steps of an older version)*",
    .total = "**Total**",
    .no_licence = "*none stated*",
    .no_url = "*none stated*",
    .blank_data =
        "How the corpora were chosen and cleaned; personal data; opinions and biases that they carry.",
    .earlier_explained = "The base model says of itself that it was trained on:",
    .setting_head = "| Setting | Value |",
    .batch = "Sequences per step",
    .sequence = "Tokens per sequence",
    .packing = "Packing of documents",
    .unused = "Tokens of the data never used: documents longer than a sequence",
    .objective = "Objective",
    .teacher = "Teacher",
    .optimizer = "Optimizer",
    .rate = "Highest learning rate",
    .betas = "Betas",
    .decay = "Weight decay",
    .clip = "Gradient norm limit",
    .schedule = "Learning rate schedule",
    .warmup = "Warm-up steps",
    .compute = "Computed in",
    .seed = "Seed",
    .ranks = "Ranks",
    .loss_first = "Training loss, first step",
    .loss_last = "Training loss, this step",
    .valid_last = "Validation loss",
    .valid_best = "Validation loss of the best checkpoint so far",
    .left_out = "Batches left out: their loss or gradient norm was a spike",
    .at_step = " at step ",
    .perplexity = "perplexity",
    .place = "Place",
    .place_local = "local machine",
    .place_slurm = "Slurm cluster",
    .gpu_hours = "GPU-hours",
    .core_hours = "Core-hours",
    .starts = "Starts of the job",
    .energy = "Energy",
    .energy_unknown = "not known: no counter could be read",
    .counted = "of the hardware's time covered by counters",
    .co2 = "CO2 equivalent",
    .co2_unknown = "not known",
    .factor = "Emission factor",
    .factor_source = "source: ",
    .pue = "Overhead of the data centre (PUE)",
    .cost_unknown = "No accounts of this run were kept: hours, energy and CO2 are not known.",
    .cost_scope =
        "This run alone, all its starts; not the base model, preparations, abandoned runs, or the making of "
        "the machines.",
    .limits_text =
        "- **[To complete]** Intended uses, and uses that are excluded.\n"
        "- **[To complete]** Known errors, biases and risks; languages and fields where the model is weak.\n"
        "- **[To complete]** Evaluations beyond the losses above.\n"
        "- A language model may state what is false with assurance: what it writes must be checked.\n",
    .draft_title = "Draft: summary of training content (EU AI Act, Article 53(1)(d))",
    .draft_warning =
        "**Draft, to be completed and reviewed by the provider.  It is not legal advice nor a declaration of "
        "conformity, and does not say whether the obligation applies to this model.**",
    .draft_general = "### 1. General information\n\n"
                     "- **[To complete]** Provider, contact, authorised representative.\n"
                     "- **[To complete]** Name and version of the model, date of placing on the market.\n"
                     "- Modality: text.\n",
    .draft_sources =
        "### 2. Sources of the training data\n\n"
        "**[To complete]** For each corpus, its kind: publicly available data set; data licensed or bought "
        "from third parties; data collected from the web by the provider; data of users; synthetic data; "
        "other.\n",
    .draft_listed = "Consumed tokens",
    .draft_rest =
        "- **[To complete]** Data collected from the web: period, collecting program, main domain names.\n"
        "- **[To complete]** Synthetic data: models that made it.\n\n"
        "### 3. Treatment of the data\n\n"
        "- **[To complete]** Measures by which reservations of rights against text and data mining were "
        "identified and respected (Directive (EU) 2019/790, Article 4(3)).\n"
        "- **[To complete]** Measures against illegal content.\n"
        "- **[To complete]** Treatment of personal data.\n",
    .draft_tokens = "Tokens consumed in this training",
    .draft_base = "The training content of the base model is for its own provider to describe",
};

/* French writes a narrow no-break space (U+202F) between thousands, a comma in decimals and a blank before ':' and
 * ';'. */
static const struct card_words FRENCH = {
    .thousands = "\u202f",
    .decimal = ",",
    .colon = " : ",
    .blank = "**[À compléter]** ",
    .unknown = "inconnu",
    .yaml_licence_of_base = "celle du modèle de base ; à vérifier au regard des données d'entraînement",
    .yaml_licence_unknown = "license: à compléter",
    .yaml_name_of_folder = "nom de son dossier ; à compléter : ORGANISATION/NOM",
    .yaml_language = "à vérifier",
    .written_by = "Rédigé par ",
    .written_by_end = " d'après provenance.json.  Compléter ce qui est marqué [À compléter].",
    .title_from_base = "Modèle entraîné à partir de ",
    .title_new = "Modèle de langue",
    .what_title = "Description du modèle",
    .data_title = "Données d'entraînement",
    .earlier_title = "Entraînement antérieur, dans le modèle de base",
    .procedure_title = "Procédure d'entraînement",
    .cost_title = "Calcul, énergie, CO2",
    .limits_title = "Usages, limites et risques",
    .what_new = "Un modèle de langue entraîné à partir de poids tirés au hasard.",
    .what_from_base = "Un modèle de langue dont l'entraînement a été poursuivi à partir d'un modèle de base.",
    .what_adapter =
        "Un adaptateur : des paires de rang faible (LoRA) entraînées à côté des matrices d'un modèle de base, "
        "nécessaire pour s'en servir.",
    .what_merged =
        "Un modèle de base où un adaptateur, des paires de rang faible (LoRA) entraînées à côté de ses matrices, a été "
        "fusionné.",
    .adapter_parameters = "Paramètres des paires",
    .adapter_rank = "Rang des paires",
    .adapter_base = "Matrices de la base pendant l'entraînement",
    .use_title = "Utilisation",
    .use_adapter =
        "- vLLM : `vllm serve BASE --enable-lora --lora-modules NOM=DOSSIER`, avec `--max-lora-rank` si le rang dépasse 16\n"
        "- transformers et peft : `PeftModel.from_pretrained(base, DOSSIER)`\n"
        "- llama.cpp : `--lora FICHIER.gguf` à côté du fichier GGUF de la base ; Ollama : un Modelfile avec `FROM BASE.gguf` et "
        "`ADAPTER FICHIER.gguf`. `atelier export DOSSIER --to gguf-lora` écrit ce fichier, `--to hf` et `--to gguf` un modèle "
        "fusionné.\n",
    .use_adapter_merged =
        "- transformers et peft : `PeftModel.from_pretrained(base, DOSSIER)`\n"
        "- vLLM, llama.cpp et Ollama n'acceptent pas un tel adaptateur, mais le modèle fusionné : `atelier export DOSSIER --to "
        "hf`, `--to gguf`.\n",
    .adapter_whole = "Entraînés en entier à côté des paires",
    .parameters = "Paramètres",
    .wrapper = "Décodeur de texte seul ; tous les autres tenseurs sont ceux de la base, de",
    .added_tokens = "Jetons ajoutés au vocabulaire",
    .numbers = "nombres",
    .base_model = "Modèle de base",
    .base_licence = "Licence du modèle de base, telle qu'il la déclare",
    .base_hash = "SHA-256 des poids du modèle de base",
    .base_hash_how = "d'un fichier unique : le sien ; de plusieurs : `sha256sum *.safetensors | sha256sum`",
    .base_hash_unknown =
        "non enregistré : l'entraînement a commencé avec une version qui ne gardait pas la provenance",
    .trained = "Dates de l'entraînement",
    .progress = "Étape",
    .of_steps = " sur ",
    .not_finished = "**L'entraînement n'était pas terminé lors de la rédaction de cette fiche.**",
    .diverged = "L'entraînement a échoué : sa perte est hors des bornes depuis l'étape ",
    .had_diverged =
        "L'entraînement avait divergé, puis s'est rétabli : sa perte était hors des bornes de l'étape ",
    .to_step = " à l'étape ",
    .learnt_nothing = "Rien n'a été appris : tous les gradients sont exactement nuls depuis l'étape ",
    .no_update = "Rien n'a été appris : aucune étape n'a modifié les poids.",
    .program = "Programme",
    .blank_purpose = "À quoi sert le modèle, qui l'a réalisé, à qui s'adresser.",
    .data_head = "| Corpus | Licence | Origine | Documents | Jetons | Jetons consommés | Part |",
    .data_explained =
        "Les jetons consommés sont ceux sur lesquels le modèle a réellement été entraîné jusqu'à cette "
        "étape ; les répétitions sont comptées à chaque fois, le remplissage ne l'est pas.  Documents et "
        "jetons sont ceux des fichiers préparés.",
    .not_attributed = "*non comptés par corpus (étapes d'une version antérieure)*",
    .total = "**Total**",
    .no_licence = "*non indiquée*",
    .no_url = "*non indiquée*",
    .blank_data = "Choix et nettoyage des corpus ; données personnelles ; opinions et biais qu'ils portent.",
    .earlier_explained = "Le modèle de base déclare avoir été entraîné sur :",
    .setting_head = "| Réglage | Valeur |",
    .batch = "Séquences par étape",
    .sequence = "Jetons par séquence",
    .packing = "Regroupement des documents",
    .unused = "Jetons des données jamais utilisés : documents plus longs qu'une séquence",
    .objective = "Objectif",
    .teacher = "Professeur",
    .optimizer = "Optimiseur",
    .rate = "Taux d'apprentissage maximal",
    .betas = "Bêtas",
    .decay = "Décroissance des poids",
    .clip = "Limite de la norme du gradient",
    .schedule = "Évolution du taux d'apprentissage",
    .warmup = "Étapes de montée en charge",
    .compute = "Calcul en",
    .seed = "Graine",
    .ranks = "Rangs",
    .loss_first = "Perte d'entraînement, première étape",
    .loss_last = "Perte d'entraînement, cette étape",
    .valid_last = "Perte de validation",
    .valid_best = "Perte de validation du meilleur point de reprise jusqu'ici",
    .left_out = "Lots écartés : leur perte ou la norme de leur gradient était un pic",
    .at_step = " à l'étape ",
    .perplexity = "perplexité",
    .place = "Lieu",
    .place_local = "machine locale",
    .place_slurm = "grappe de calcul Slurm",
    .gpu_hours = "Heures de GPU",
    .core_hours = "Heures de cœur",
    .starts = "Démarrages du travail",
    .energy = "Énergie",
    .energy_unknown = "inconnue : aucun compteur n'a pu être lu",
    .counted = "du temps des matériels couvert par des compteurs",
    .co2 = "Équivalent CO2",
    .co2_unknown = "inconnu",
    .factor = "Facteur d'émission",
    .factor_source = "source : ",
    .pue = "Surcoût du centre de calcul (PUE)",
    .cost_unknown = "Aucune comptabilité n'a été tenue : heures, énergie et CO2 sont inconnus.",
    .cost_scope = "Cet entraînement seul, tous ses démarrages compris ; sans le modèle de base, les "
                  "préparations, les essais "
                  "abandonnés ni la fabrication des machines.",
    .limits_text = "- **[À compléter]** Usages prévus, usages exclus.\n"
                   "- **[À compléter]** Erreurs, biais et risques connus ; langues et domaines où le modèle "
                   "est faible.\n"
                   "- **[À compléter]** Évaluations au-delà des pertes ci-dessus.\n"
                   "- Un modèle de langue peut affirmer avec assurance ce qui est faux : ce qu'il écrit doit "
                   "être vérifié.\n",
    .draft_title = "Projet : résumé du contenu d'entraînement – règlement européen sur l'IA, article 53, "
                   "paragraphe 1, point d)",
    .draft_warning =
        "**Projet, à compléter et à relire par le fournisseur.  Il ne constitue ni un avis juridique ni une "
        "déclaration de conformité, et ne dit pas si l'obligation s'applique à ce modèle.**",
    .draft_general = "### 1. Informations générales\n\n"
                     "- **[À compléter]** Fournisseur, contact, mandataire.\n"
                     "- **[À compléter]** Nom et version du modèle, date de mise sur le marché.\n"
                     "- Modalité : texte.\n",
    .draft_sources =
        "### 2. Sources des données d'entraînement\n\n"
        "**[À compléter]** Pour chaque corpus, sa nature : jeu de données accessible au public ; données "
        "sous "
        "licence ou acquises auprès de tiers ; données collectées sur le web par le fournisseur ; données "
        "d'utilisateurs ; données synthétiques ; autre.\n",
    .draft_listed = "Jetons consommés",
    .draft_rest = "- **[À compléter]** Données collectées sur le web : période, programme de collecte, "
                  "principaux noms de "
                  "domaine.\n"
                  "- **[À compléter]** Données synthétiques : modèles qui les ont produites.\n\n"
                  "### 3. Traitement des données\n\n"
                  "- **[À compléter]** Mesures prises pour identifier et respecter les réserves de droits "
                  "contre la fouille "
                  "de textes et de données (directive (UE) 2019/790, article 4, paragraphe 3).\n"
                  "- **[À compléter]** Mesures contre les contenus illicites.\n"
                  "- **[À compléter]** Traitement des données personnelles.\n",
    .draft_tokens = "Jetons consommés lors de cet entraînement",
    .draft_base = "Le contenu d'entraînement du modèle de base est à décrire par son propre fournisseur",
};

const struct card_words *card_words(enum card_language language) {
    return language == CARD_FRENCH ? &FRENCH : &ENGLISH;
}
