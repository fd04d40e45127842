import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.model.Composite;
import ca.uhn.hl7v2.model.GenericMessage;
import ca.uhn.hl7v2.model.GenericSegment;
import ca.uhn.hl7v2.model.Group;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.Segment;
import ca.uhn.hl7v2.model.Structure;
import ca.uhn.hl7v2.model.Type;
import ca.uhn.hl7v2.model.Varies;
import ca.uhn.hl7v2.parser.ModelClassFactory;
import ca.uhn.hl7v2.parser.PipeParser;
import ca.uhn.hl7v2.parser.UnexpectedSegmentBehaviourEnum;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;

/**
 * Reads messages, one a line as Base64 of UTF-8, and holds each to HAPI's structure of its version: HAPI's own rules of
 * the data types, then required groups, segments and fields, repetitions, lengths, and what the standard does not have.
 *
 * <p>Writes a line for each finding: the message's number from 0 on, where, and the rule, with tabs between them. The
 * last line says how many messages were read and by how many fields.
 */
public final class CheckStructures {
    private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    /** Components that a type requires from version 2.5 on; HAPI's structures do not say. */
    private static final Map<String, Integer> REQUIRED = Map.of("MSG", 3, "CX", 1, "ERL", 2, "PT", 1, "VID", 1);

    private int number;
    private long fields;

    public static void main(String[] arguments) throws Exception {
        new CheckStructures().run();
    }

    private void run() throws Exception {
        try (HapiContext context = new DefaultHapiContext()) {
            checkAll(context);
        }
    }

    private void checkAll(HapiContext context) throws Exception {
        context.setValidationContext(ValidationContextFactory.defaultValidation());
        context.getParserConfiguration()
                .setUnexpectedSegmentBehaviour(UnexpectedSegmentBehaviourEnum.THROW_HL7_EXCEPTION);
        PipeParser parser = context.getPipeParser();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            check(parser, new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8));
            number++;
        }
        out.println("read\t" + number + "\t" + fields);
    }

    private void check(PipeParser parser, String text) {
        try {
            Message message = parser.parse(text);
            if (message instanceof GenericMessage) {
                say("MSH-9", "names a structure that this version does not have");
                return;
            }
            group(message, "");
        } catch (HL7Exception error) {
            say(error.getLocation() == null ? "message" : error.getLocation().toString(), oneLine(error));
        }
    }

    private void group(Group group, String path) throws HL7Exception {
        for (String name : group.getNames()) {
            Structure[] all = group.getAll(name);
            int present = 0;
            for (Structure one : all) {
                if (one.isEmpty()) {
                    continue;
                }
                present++;
                if (one instanceof Group) {
                    group((Group) one, path + name + ".");
                } else {
                    segment((Segment) one, present);
                }
            }
            if (present == 0 && group.isRequired(name) && !group.isChoiceElement(name)) {
                say(path + name, "is required");
            }
            if (present > 1 && !group.isRepeating(name)) {
                say(path + name, "does not repeat");
            }
        }
    }

    private void segment(Segment segment, int occurrence) throws HL7Exception {
        String name = segment.getName();
        if (segment instanceof GenericSegment) {
            say(name, "is not of this structure");
            return;
        }
        int known = fresh(segment).numFields();
        for (int field = 1; field <= segment.numFields(); field++) {
            String where = name + "-" + field;
            Type[] repetitions = segment.getField(field);
            boolean isPresent = false;
            for (Type one : repetitions) {
                isPresent |= !one.isEmpty();
            }
            if (field > known) {
                if (isPresent) {
                    say(where, "is not of this segment");
                }
                continue;
            }
            if (!isPresent && segment.isRequired(field)) {
                say(where, "is required");
            }
            int most = segment.getMaxCardinality(field);
            if (most > 0 && repetitions.length > most) {
                say(where, "repeats more than " + most + " times");
            }
            if (isPresent) {
                fields++;
                repetitions(where, repetitions, segment.getLength(field));
            }
        }
    }

    private void repetitions(String where, Type[] repetitions, int longest) throws HL7Exception {
        for (Type one : repetitions) {
            int length = where.equals("MSH-1") || where.equals("MSH-2") ? 0 : one.encode().length();
            if (longest > 0 && length > longest) {
                say(where, "is longer than " + longest);
            }
            components(where, one);
        }
    }

    private void components(String where, Type type) throws HL7Exception {
        if (type.getExtraComponents().numComponents() > 0) {
            say(where, "has more components than its type " + type.getName());
        }
        if (type instanceof Composite) {
            int required = type.getMessage().getVersion().startsWith("2.5") ? REQUIRED.getOrDefault(type.getName(), 0) : 0;
            for (int part = 0; part < required && !type.isEmpty(); part++) {
                if (((Composite) type).getComponent(part).isEmpty()) {
                    say(where + "." + (part + 1), "is required");
                }
            }
            for (Type part : ((Composite) type).getComponents()) {
                components(where, part);
            }
        } else if (type instanceof Varies) {
            components(where, ((Varies) type).getData());
        }
    }

    private static Segment fresh(Segment segment) throws HL7Exception {
        try {
            ModelClassFactory factory = segment.getMessage().getParser().getHapiContext().getModelClassFactory();
            return segment.getClass()
                    .getConstructor(Group.class, ModelClassFactory.class)
                    .newInstance(segment.getParent(), factory);
        } catch (ReflectiveOperationException error) {
            throw new HL7Exception(error);
        }
    }

    private void say(String where, String rule) {
        out.println(number + "\t" + where + "\t" + rule);
    }

    private static String oneLine(Exception error) {
        return String.valueOf(error.getMessage()).replaceAll("\\s+", " ");
    }
}
