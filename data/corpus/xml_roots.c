/* xml_roots.c - the table: sheets of service-public.fr, and articles of LEGI and JORF as DILA publishes them.  Sources: the files of
 * vosdroits (schema 3.3, Publication.xsd), and the DTDs of LEGI and JORF (legi_article.dtd, jorf_article.dtd). */
#include "data/corpus/xml_roots.h"

#include <stddef.h>

static const struct xml_named_field PUBLICATION[] = {
    {"id", "@ID", XML_LAST},
    {"type", "@type", XML_LAST},
    {"url", "@spUrl", XML_LAST},
    {"title", "dc:title", XML_LAST},
    {"subject", "dc:subject", XML_LAST},
    {"description", "dc:description", XML_LAST},
    {"date", "dc:date", XML_LAST},
    {"audience", "Audience", XML_PARTS},
    {"text", "Introduction|Texte|ListeSituations|LienExterneCommente", XML_PARTS},
    {NULL, NULL, XML_PARTS},
};
/* Addresses, services and conditions on who reads; none of them is a part of the text. */
static const char *const PUBLICATION_LEFT_OUT[] = {"OuSAdresser", "ServiceEnLigne", "Condition", "Image",
                                                   NULL};

static const struct xml_named_field ARTICLE[] = {
    {"id", "META/META_COMMUN/ID", XML_LAST},
    {"nature", "META/META_COMMUN/NATURE", XML_LAST},
    {"num", "META/META_SPEC/META_ARTICLE/NUM", XML_LAST},
    {"etat", "META/META_SPEC/META_ARTICLE/ETAT", XML_LAST},
    {"date_debut", "META/META_SPEC/META_ARTICLE/DATE_DEBUT", XML_LAST},
    {"date_fin", "META/META_SPEC/META_ARTICLE/DATE_FIN", XML_LAST},
    {"text_nature", "CONTEXTE/TEXTE/@nature", XML_LAST},
    {"title", "CONTEXTE/TEXTE/TITRE_TXT", XML_IN_FORCE},
    {"section", "CONTEXTE/TEXTE//TITRE_TM", XML_CHAIN},
    {"text", "BLOC_TEXTUEL/CONTENU", XML_PARTS},
    {"nota", "NOTA/CONTENU", XML_PARTS},
    {NULL, NULL, XML_PARTS},
};
static const char *const NOTHING_LEFT_OUT[] = {NULL};

static const struct xml_root ROOTS[] = {{"Publication", PUBLICATION, PUBLICATION_LEFT_OUT, NULL},
                                        {"ARTICLE", ARTICLE, NOTHING_LEFT_OUT, "date_fin"}};

const struct xml_root *xml_root_of(int number) {
    return number < (int)(sizeof ROOTS / sizeof *ROOTS) ? &ROOTS[number] : NULL;
}
