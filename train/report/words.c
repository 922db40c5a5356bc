/* words.c - the texts of a report, English and French side by side. */
#include "train/report/words.h"

static const char *const WORDS[WORD_COUNT][REPORT_LANGUAGES] = {
    [WORD_LANGUAGE] = {"en", "fr"},
    [WORD_TITLE] = {"Training report", "Rapport d'entraînement"},
    [WORD_WRITTEN] = {"Written on", "Rédigé le"},
    [WORD_WRITTEN_BY] = {"(UTC) by", "(UTC) par"},
    [WORD_CONTENTS] = {"Contents", "Sommaire"},
    [WORD_COLON] = {": ", "\u00a0: "},
    [WORD_NOT_RECORDED] = {"not recorded", "non enregistré"},
    [WORD_NONE] = {"none", "aucun"},
    [WORD_RUN] = {"Run", "Entraînement"},
    [WORD_RUNS] = {"Runs", "Entraînements"},
    [WORD_STEP] = {"Step", "Étape"},
    [WORD_STEP_AXIS] = {"Step (number since the beginning of the run)",
                        "Étape (numéro depuis le début de l'entraînement)"},
    [WORD_OF] = {"of", "sur"},
    [WORD_AT_STEP] = {"at step", "à l'étape"},
    [WORD_YES] = {"yes", "oui"},
    [WORD_NO] = {"no", "non"},
    [WORD_UNIT_PLAIN] = {"no unit", "sans unité"},
    [WORD_UNIT_NATS] = {"nats per token", "nats par jeton"},
    [WORD_UNIT_SPEED] = {"tokens per second", "jetons par seconde"},
    [WORD_UNIT_MEGA_SPEED] = {"millions of tokens per second", "millions de jetons par seconde"},
    [WORD_UNIT_RATIO] = {"times the median", "fois la médiane"},
    [WORD_UNIT_BYTE] = {"B", "o"},

    [WORD_SUMMARY] = {"Summary", "Résumé"},
    [WORD_SUMMARY_NOTE] =
        {"The training of a language model: a program reads texts in small portions and, at each step, changes the "
         "model's numbers so that it predicts them better.  Tokens are pieces of words, the unit in which texts are "
         "counted.",
         "L'entraînement d'un modèle de langue\u00a0: un programme lit des textes par petites portions et, à chaque étape, "
         "modifie les nombres du modèle pour qu'il les prévoie mieux.  Les jetons sont des morceaux de mots, l'unité dans "
         "laquelle les textes sont comptés."},
    [WORD_STATE] = {"State", "État"},
    [WORD_STATE_DONE] = {"complete: all steps were done", "terminé\u00a0: toutes les étapes sont faites"},
    [WORD_STATE_PART] = {"not complete when this was written", "non terminé lors de la rédaction"},
    [WORD_STATE_UNKNOWN] = {"the number of steps was not recorded",
                            "le nombre d'étapes n'a pas été enregistré"},
    [WORD_STATE_DIVERGED] = {"FAILED: the loss is out of bounds since step",
                             "ÉCHEC\u00a0: la perte est hors des bornes depuis l'étape"},
    [WORD_STATE_STILL] = {"FAILED: nothing is learnt since step",
                          "ÉCHEC\u00a0: rien n'est appris depuis l'étape"},
    [WORD_STATE_SUFFERED] = {"the loss was out of bounds from step",
                             "la perte était hors des bornes de l'étape"},
    [WORD_STATE_SUFFERED_TO] = {"to step", "à l'étape"},
    [WORD_STEPS_DONE] = {"Steps done", "Étapes faites"},
    [WORD_STEPS_REDONE] = {"Steps done again after a restart", "Étapes refaites après un redémarrage"},
    [WORD_STEPS_EMPTY] = {"Steps without anything to learn", "Étapes sans rien à apprendre"},
    [WORD_STEPS_OVERFLOW] = {"Steps left out because a gradient overflowed",
                             "Étapes écartées pour un dépassement de gradient"},
    [WORD_STEPS_SPIKE] = {"Steps left out because the loss or the gradient norm was a spike",
                          "Étapes écartées, la perte ou la norme du gradient étant un pic"},
    [WORD_LINES_UNREADABLE] = {"Damaged lines of the record, which are in no sum",
                               "Lignes endommagées du relevé, absentes de toute somme"},
    [WORD_TOKENS] = {"Tokens read (tokens)", "Jetons lus (jetons)"},
    [WORD_TARGETS] = {"of them learnt from (tokens)", "dont appris (jetons)"},
    [WORD_BEGAN] = {"First record (UTC)", "Premier enregistrement (UTC)"},
    [WORD_ENDED] = {"Last record (UTC)", "Dernier enregistrement (UTC)"},
    [WORD_TIME_IN_STEPS] = {"Time spent in these steps", "Temps passé dans ces étapes"},
    [WORD_MEAN_SPEED] = {"Mean speed (tokens per second)", "Vitesse moyenne (jetons par seconde)"},
    [WORD_LOSS_FIRST] = {"Training loss, first", "Perte d'entraînement, première"},
    [WORD_LOSS_LAST] = {"Training loss, last", "Perte d'entraînement, dernière"},
    [WORD_VALID_BEST] = {"Validation loss, lowest", "Perte de validation, la plus basse"},
    [WORD_VALID_LAST] = {"Validation loss, last", "Perte de validation, dernière"},
    [WORD_PERPLEXITY] = {"Perplexity (no unit)", "Perplexité (sans unité)"},
    [WORD_CHECKPOINTS] = {"Checkpoints saved", "Points de reprise enregistrés"},
    [WORD_CHECKPOINT_BEST] = {"the best one is of step", "le meilleur est de l'étape"},
    [WORD_RESTART_COUNT] = {"Restarts", "Redémarrages"},

    [WORD_CHARTS] = {"Charts", "Graphiques"},
    [WORD_CHART_NOTE] =
        {"The horizontal axis of all charts counts the steps.  A line is the mean of the steps that fall on one point of it, the "
         "shade around it reaches from the smallest to the largest value, so that no spike is lost.",
         "L'axe horizontal de tous les graphiques compte les étapes.  Une ligne est la moyenne des étapes qui tombent sur un même "
         "point, l'ombre autour d'elle va de la plus petite à la plus grande valeur, si bien qu'aucun pic ne se perd."},
    [WORD_CHART_NONE] = {"Not recorded in this run: no chart.",
                         "Non enregistré dans cet entraînement\u00a0: pas de graphique."},
    [WORD_CHART_CUT] =
        {"A few steps took longer, such as the first after a start: they are cut at the upper edge.",
         "Quelques étapes ont duré plus longtemps, comme la première après un démarrage\u00a0: elles sont coupées au "
         "bord supérieur."},
    [WORD_RESTART] = {"restart", "redémarrage"},
    [WORD_FROM_AT] = {"from", "de"},
    [WORD_TO_AT] = {"to", "à"},
    [WORD_LOWEST] = {"lowest", "minimum"},
    [WORD_HIGHEST] = {"highest", "maximum"},
    [WORD_LOSS] = {"Training loss", "Perte d'entraînement"},
    [WORD_LOSS_NOTE] =
        {"How badly the model predicts the texts that it is trained on: the lower the better.",
         "À quel point le modèle prévoit mal les textes sur lesquels il est entraîné\u00a0: plus c'est bas, "
         "mieux c'est."},
    [WORD_OBJECTIVE_NOTE] = {"What this training makes smaller (objective:",
                             "Ce que cet entraînement diminue (objectif\u00a0:"},
    [WORD_VALID] = {"Validation loss", "Perte de validation"},
    [WORD_VALID_NOTE] =
        {"The same on the texts that the run file sets apart for it (data.valid).  Where it rises while the training loss falls, the "
         "model learns its texts by heart.",
         "La même mesure sur les textes que le fichier de lancement met à part (data.valid).  Si elle monte alors que la perte "
         "d'entraînement baisse, le modèle apprend ses textes par cœur."},
    [WORD_VALID_LEARNT] =
        {"Careful: texts of the validation are trained on as well.  This loss says nothing about other texts, and falls where the "
         "model learns its texts by heart.",
         "Attention\u00a0: des textes de la validation sont aussi appris.  Cette perte ne dit rien d'autres textes, et baisse quand le "
         "modèle apprend ses textes par cœur."},
    [WORD_VALID_SOURCES] = {"Validation loss by source", "Perte de validation par source"},
    [WORD_VALID_SOURCES_NOTE] =
        {"The validation loss of each source of texts, where a run measures several.",
         "La perte de validation de chaque source de textes, quand plusieurs sont mesurées."},
    [WORD_MORE_SOURCES] = {"There are more sources than are shown.",
                           "Il y a plus de sources que celles qui sont montrées."},
    [WORD_RATE] = {"Learning rate", "Taux d'apprentissage"},
    [WORD_RATE_NOTE] = {"How far a step moves the model's numbers.  It is chosen beforehand, not measured.",
                        "L'ampleur du changement à chaque étape.  Il est choisi à l'avance, non mesuré."},
    [WORD_NORM] = {"Gradient norm", "Norme du gradient"},
    [WORD_NORM_NOTE] =
        {"How strongly the texts of a step pull at the model, before any limit.  Sudden peaks are a sign of unusual texts or "
         "of a training that becomes unstable.",
         "La force avec laquelle les textes d'une étape tirent sur le modèle, avant toute limite.  Des pics soudains signalent "
         "des textes inhabituels ou un entraînement qui devient instable."},
    [WORD_SPEED] = {"Speed", "Vitesse"},
    [WORD_SPEED_NOTE] = {"Tokens that all processes together train on in a second.",
                         "Jetons traités par seconde par tous les processus ensemble."},
    [WORD_MEMORY] = {"Peak memory", "Mémoire maximale"},
    [WORD_MEMORY_NOTE] =
        {"The most main memory that the first process had used up to each step; the memory of GPUs is not in it.",
         "Le maximum de mémoire centrale utilisé par le premier processus jusqu'à chaque étape\u202f; la mémoire des GPU n'y est "
         "pas."},
    [WORD_PHASES] = {"Phases of a step", "Phases d'une étape"},
    [WORD_PHASES_NOTE] =
        {"What a step's time is spent on, one phase stacked on the other.  Much \"exchange between processes\" means that "
         "they wait for the network or for each other.",
         "À quoi passe le temps d'une étape, les phases empilées l'une sur l'autre.  Beaucoup d'«\u00a0échanges entre processus\u00a0» "
         "signifie qu'ils attendent le réseau ou s'attendent entre eux."},
    [WORD_PHASE_DATA] = {"reading the data", "lecture des données"},
    [WORD_PHASE_FORWARD] = {"forward pass", "passe avant"},
    [WORD_PHASE_BACKWARD] = {"backward pass", "passe arrière"},
    [WORD_PHASE_COMM] = {"exchange between processes", "échanges entre processus"},
    [WORD_PHASE_OPTIMIZER] = {"update of the weights", "mise à jour des poids"},
    [WORD_PHASE_OTHER] = {"not attributed", "non attribué"},
    [WORD_PHASE] = {"Phase", "Phase"},
    [WORD_SHARE] = {"Share (%)", "Part (%)"},
    [WORD_TIME_PER_STEP] = {"Time of a step", "Durée d'une étape"},
    [WORD_SLOWNESS] = {"Slowest process", "Processus le plus lent"},
    [WORD_SLOWNESS_NOTE] =
        {"How long the slowest process computes, compared with the median of all: 1 means that all are alike; above 1.15 the "
         "others wait noticeably.",
         "Combien de temps calcule le processus le plus lent, comparé à la médiane de tous\u00a0: 1 signifie qu'ils vont de pair\u202f; "
         "au-delà de 1,15 les autres attendent sensiblement."},
    [WORD_MARGIN] = {"Reward margin", "Écart de récompense"},
    [WORD_MARGIN_NOTE] =
        {"By how much the model prefers the better of two answers: the higher the better.",
         "De combien le modèle préfère la meilleure de deux réponses\u00a0: plus c'est haut, mieux c'est."},
    [WORD_ACCURACY] = {"Preference accuracy", "Exactitude des préférences"},
    [WORD_ACCURACY_NOTE] = {"The share of pairs in which the model prefers the better answer.",
                            "La part des paires où le modèle préfère la meilleure réponse."},
    [WORD_CROSS_ENTROPY] = {"Cross-entropy", "Entropie croisée"},
    [WORD_CROSS_ENTROPY_NOTE] = {"The part of the loss that comes from the texts themselves.",
                                 "La part de la perte qui vient des textes eux-mêmes."},
    [WORD_KL] = {"Divergence (KL)", "Divergence (KL)"},
    [WORD_KL_NOTE] = {"How far the model is from its teacher or from its reference.",
                      "À quelle distance le modèle est de son professeur ou de sa référence."},

    [WORD_BALANCE] = {"Load balance of the experts", "Équilibre des charges des experts"},
    [WORD_BALANCE_NOTE] =
        {"As the routers' loss has it, before its coefficient: the number of experts that a token goes to where all have as much to do, "
         "more where some have more.",
         "Selon la perte des routeurs, avant son coefficient\u00a0: le nombre d'experts où va un jeton quand tous ont autant à faire, plus "
         "quand certains en ont davantage."},
    [WORD_ROUTER_Z] = {"Router z-loss", "Perte z des routeurs"},
    [WORD_ROUTER_Z_NOTE] = {"How large the routers' logits are, before its coefficient.",
                            "La taille des logits des routeurs, avant son coefficient."},
    [WORD_FULLEST] = {"Share of the fullest expert", "Part de l'expert le plus chargé"},
    [WORD_FULLEST_NOTE] =
        {"Of what a layer sends to its experts, the largest share that one of them had in a step.",
         "De ce qu'une couche envoie à ses experts, la plus grande part que l'un d'eux a eue dans une étape."},
    [WORD_EMPTIEST] = {"Share of the emptiest expert", "Part de l'expert le moins chargé"},
    [WORD_EMPTIEST_NOTE] =
        {"The smallest; zero: an expert had nothing to do, and learns nothing.",
         "La plus petite\u202f; zéro\u00a0: un expert n'a rien eu à faire, et n'apprend rien."},

    [WORD_VALIDATIONS] = {"Validations", "Validations"},
    [WORD_VALIDATIONS_NOTE] =
        {"Measured while the model was trained, on the texts of data.valid.  A perplexity of 10 means that the model hesitates, on "
         "average, as if between 10 equally likely tokens.",
         "Mesurées pendant l'entraînement, sur les textes de data.valid.  Une perplexité de 10 signifie que le modèle hésite, en "
         "moyenne, comme entre 10 jetons également probables."},
    [WORD_VALIDATIONS_THINNED] = {"Shown are the best, the last, and one validation in",
                                  "Sont montrées la meilleure, la dernière et une validation sur"},
    [WORD_LAST] = {"Last", "Dernière"},
    [WORD_BEST] = {"Lowest", "La plus basse"},
    [WORD_BEST_MARK] = {"(lowest)", "(la plus basse)"},
    [WORD_EVALUATIONS] = {"Evaluations", "Évaluations"},
    [WORD_EVALUATIONS_NOTE] =
        {"Measured after the training: the files eval*.json of the run's folder, written by \"atelier eval ... --json\" or --results.",
         "Mesurées après l'entraînement\u00a0: les fichiers eval*.json du dossier, écrits par «\u00a0atelier eval ... --json\u00a0» ou --results."},
    [WORD_FILE_NAME] = {"File", "Fichier"},
    [WORD_SOURCE] = {"Source", "Source"},
    [WORD_ALL_SOURCES] = {"all sources", "toutes les sources"},

    [WORD_CHOSEN] = {"the preferred answers", "les réponses préférées"},
    [WORD_REJECTED] = {"the rejected answers", "les réponses rejetées"},
    [WORD_DESIRABLE] = {"the desirable answers", "les réponses souhaitables"},
    [WORD_UNDESIRABLE] = {"the undesirable answers", "les réponses indésirables"},
    [WORD_LOSS_ALONE] = {"Loss", "Perte"},
    [WORD_BITS_PER_BYTE] = {"Loss (bits per byte of text)", "Perte (bits par octet de texte)"},
    [WORD_LOSS_PER_TOKEN] = {"Loss (nats per token)", "Perte (nats par jeton)"},
    [WORD_TARGETS_MEASURED] = {"Measured on (tokens)", "Mesuré sur (jetons)"},
    [WORD_TASKS] = {"Questions with choices", "Questions à choix multiples"},
    [WORD_TASKS_NOTE] =
        {"Of each question the model takes the answer that it finds most probable: by its whole probability, or by that for each "
         "character of the answer, which does not favour short ones.  After \u00b1: the standard error.",
         "À chaque question, le modèle choisit la réponse qui lui paraît la plus probable\u00a0: par sa probabilité entière, ou "
         "ramenée à chaque caractère de la réponse, ce qui ne favorise pas les courtes.  Après \u00b1\u00a0: l'erreur type."},
    [WORD_GROUP] = {"Group", "Groupe"},
    [WORD_ALL_GROUPS] = {"all groups", "tous les groupes"},
    [WORD_QUESTIONS] = {"Questions", "Questions"},
    [WORD_GUESSING] = {"Right by guessing (%)", "Juste au hasard (%)"},
    [WORD_RIGHT] = {"Right (%)", "Juste (%)"},
    [WORD_RIGHT_CHARACTERS] = {"Right, for each character (%)", "Juste, par caractère (%)"},

    [WORD_STARTS] = {"Starts and restarts", "Démarrages et redémarrages"},
    [WORD_STARTS_NOTE] =
        {"A long training is often cut into several jobs; each goes on from the last checkpoint of the one before.",
         "Un entraînement long est souvent coupé en plusieurs travaux\u202f; chacun reprend au dernier point de reprise du "
         "précédent."},
    [WORD_START_TIME] = {"Start (UTC)", "Démarrage (UTC)"},
    [WORD_JOB] = {"Job", "Travail"},
    [WORD_RANKS] = {"Processes", "Processus"},
    [WORD_GPUS] = {"GPUs", "GPU"},
    [WORD_MACHINES] = {"Machines", "Machines"},
    [WORD_FROM_STEP] = {"From step", "De l'étape"},
    [WORD_TO_STEP] = {"To step", "À l'étape"},
    [WORD_DURATION] = {"Duration", "Durée"},
    [WORD_EARLIER_STARTS] = {"earlier starts, not listed", "démarrages antérieurs, non listés"},

    [WORD_SLOW] = {"Slow processes", "Processus lents"},
    [WORD_SLOW_NOTE] =
        {"Processes that took more than 1.15 times the median of all in some comparison: all others waited for them.",
         "Processus qui ont pris plus de 1,15 fois la médiane de tous lors d'une comparaison\u00a0: tous les autres les ont "
         "attendus."},
    [WORD_SLOW_NONE] = {"No process was slow.", "Aucun processus n'a été lent."},
    [WORD_RANK] = {"Process (number)", "Processus (numéro)"},
    [WORD_MACHINE] = {"Machine", "Machine"},
    [WORD_TIMES_SLOW] = {"Slow in (comparisons)", "Lent lors de (comparaisons)"},
    [WORD_WORST] = {"At worst (times the median)", "Au pire (fois la médiane)"},
    [WORD_COMPARISONS] = {"Comparisons made", "Comparaisons faites"},

    [WORD_COST] = {"Hours, energy and CO2", "Heures, énergie et CO2"},
    [WORD_COST_NOTE] =
        {"All starts of this run together, steps that were done twice included; not the base model, preparations, abandoned "
         "attempts, or the making of the machines.  Nothing is estimated: energy is what counters of the hardware told.",
         "Tous les démarrages de cet entraînement ensemble, étapes refaites comprises\u202f; sans le modèle de base, les "
         "préparations, les essais abandonnés ni la fabrication des machines.  Rien n'est estimé\u00a0: l'énergie est celle des "
         "compteurs du matériel."},
    [WORD_WALL_HOURS] = {"Elapsed time (hours)", "Temps écoulé (heures)"},
    [WORD_GPU_HOURS] = {"GPU time (GPU-hours)", "Temps de GPU (heures de GPU)"},
    [WORD_CORE_HOURS] = {"Processor time (core-hours)", "Temps de processeur (heures de cœur)"},
    [WORD_ENERGY] = {"Energy (kWh)", "Énergie (kWh)"},
    [WORD_ENERGY_UNKNOWN] = {"not known: no counter could be read",
                             "pas de mesure\u00a0: aucun compteur n'a pu être lu"},
    [WORD_COUNTED] = {"Hardware time covered by counters (%)",
                      "Temps du matériel couvert par des compteurs (%)"},
    [WORD_CARBON] = {"CO2 equivalent (kg)", "Équivalent CO2 (kg)"},
    [WORD_FACTOR] = {"Emission factor (g of CO2 per kWh)", "Facteur d'émission (g de CO2 par kWh)"},
    [WORD_FACTOR_SOURCE] = {"Source of the factor", "Source du facteur"},
    [WORD_PUE] = {"Overhead of the data centre (PUE, no unit)",
                  "Surcoût du centre de calcul (PUE, sans unité)"},

    [WORD_PROVENANCE] = {"Provenance", "Provenance"},
    [WORD_PROVENANCE_NOTE] =
        {"What the model was made of, as its newest checkpoint states it.  The fingerprints (SHA-256) let anyone check that a file is "
         "the one that is meant.",
         "De quoi le modèle est fait, selon son dernier point de reprise.  Les empreintes (SHA-256) permettent à chacun de "
         "vérifier qu'un fichier est bien celui dont il s'agit."},
    [WORD_PROVENANCE_NONE] =
        {"Not recorded: the run has no checkpoint with a provenance.",
         "Non enregistré\u00a0: l'entraînement n'a pas de point de reprise avec une provenance."},
    [WORD_PROGRAM] = {"Program", "Programme"},
    [WORD_PARAMETERS] = {"Parameters (numbers of the model)", "Paramètres (nombres du modèle)"},
    [WORD_BASE] = {"Base model", "Modèle de base"},
    [WORD_NO_BASE] = {"none: trained from random numbers",
                      "aucun\u00a0: entraîné à partir de nombres tirés au hasard"},
    [WORD_BASE_LICENCE] = {"Licence of the base model", "Licence du modèle de base"},
    [WORD_BASE_HASH] = {"SHA-256 of the base model", "SHA-256 du modèle de base"},
    [WORD_DEVICE] = {"Computed on", "Calculé sur"},
    [WORD_DEVICE_CPU] = {"processors (CPU)", "processeurs (CPU)"},
    [WORD_SITE_LOCAL] = {"local machine", "machine locale"},
    [WORD_SITE_SLURM] = {"Slurm cluster", "grappe de calcul Slurm"},
    [WORD_SITE] = {"Place", "Lieu"},
    [WORD_ADAPTER] = {"Adapter", "Adaptateur"},
    [WORD_CORPUS] = {"Corpus", "Corpus"},
    [WORD_LICENCE] = {"Licence", "Licence"},
    [WORD_ORIGIN] = {"Origin", "Origine"},
    [WORD_DOCUMENTS] = {"Documents", "Documents"},
    [WORD_CORPUS_TOKENS] = {"Size (tokens)", "Taille (jetons)"},
    [WORD_CONSUMED] = {"Trained on (tokens)", "Lus à l'entraînement (jetons)"},
    [WORD_NOT_ATTRIBUTED] = {"not counted by corpus", "non comptés par corpus"},
    [WORD_CORPUS_HASH] = {"SHA-256 of the prepared text", "SHA-256 du texte préparé"},
    [WORD_UNUSED] = {"Never used of the data: documents longer than a sequence (tokens)",
                     "Jamais utilisé des données\u00a0: documents plus longs qu'une séquence (jetons)"},
    [WORD_TEACHER] = {"Teacher", "Professeur"},

    [WORD_DIFFERENCES] = {"Differences between the run files", "Différences entre les fichiers de réglage"},
    [WORD_DIFFERENCES_NOTE] =
        {"Settings that are not the same in all runs; a dash: the run does not have it.",
         "Réglages qui ne sont pas les mêmes partout\u202f; un tiret\u00a0: l'entraînement ne l'a pas."},
    [WORD_DIFFERENCES_NONE] = {"The run files say the same.",
                               "Les fichiers de réglage disent la même chose."},
    [WORD_KEY] = {"Setting", "Réglage"},
    [WORD_RUN_FILE] = {"Run file", "Fichier de réglage"},
    [WORD_RUN_FILE_NOTE] = {"All settings of the run, as the program understood them.",
                            "Tous les réglages de l'entraînement, tels que le programme les a compris."},
    [WORD_RUN_FILE_CUT] = {"The run file is too long and was cut here.",
                           "Le fichier de réglage est trop long et a été coupé ici."},
    [WORD_FOOT] =
        {"This page needs no network and runs no program: it can be kept, mailed and printed as it is.",
         "Cette page n'a besoin d'aucun réseau et n'exécute aucun programme\u00a0: elle peut être conservée, envoyée et "
         "imprimée telle quelle."},
};

static const struct number_marks MARKS[REPORT_LANGUAGES] = {
    [REPORT_ENGLISH] = {",", "."}, [REPORT_FRENCH] = {"\u202f", ","}};

const char *word_of(enum word word, enum report_language language) {
    return WORDS[word][language];
}

const struct number_marks *marks_of(enum report_language language) {
    return &MARKS[language];
}
